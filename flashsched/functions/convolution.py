"""``fs.conv2d`` on batches of images."""

from __future__ import annotations

from typing import Any

from flashsched.errors import KernelError
from flashsched.functions.kernels import Array, again, as_arrays, run
from flashsched.functions.packing import PackedFilters

__all__ = ["conv2d"]


def conv2d(
    x: Any,
    w: Any,
    bias: Any = None,
    stride: int = 1,
    padding: int = 1,
    groups: int = 1,
    dilation: int = 1,
    layout: str = "NCHW",
    algorithm: str = "auto",
    out: Any = None,
) -> Array:
    """Filter a batch of images by a bank of square kernels.

    Args:
        x: shape (N, C, H, W); with layout NHWC (N, H, W, C).
        w: shape (O, C / groups, KH, KH); with layout NHWC (KH, KH, C / groups, O). Or what `prepack` made of it.
        bias: shape (O,), or None.
        stride: step between windows.
        padding: zeros added on each side.
        groups: parts that channels are divided into, each filtered by its own kernels.
        dilation: distance between the elements of a window.
        layout: ``"NCHW"`` or ``"NHWC"``, of the images.
        algorithm: ``"direct"``, ``"winograd2"`` or ``"winograd4"``, the last two for windows of 3 x 3 with stride,
            groups and dilation 1. ``"winograd2"`` errs no more than the direct sum, and ``"auto"`` takes it where it
            should be faster; ``"winograd4"`` is faster still, and errs some 8 times as much.
        out: the array to fill; a fresh one by default.

    Raises:
        KernelError: the arrays do not fit together, or there is no such layout.
        TuneError: the algorithm is not for such a convolution.
    """
    shapes = {"NCHW": "(N, C, H, W) and (O, C / groups, KH, KH)", "NHWC": "(N, H, W, C) and (KH, KH, C / groups, O)"}
    if layout not in shapes:
        raise KernelError(f"conv2d takes layout 'NCHW' or 'NHWC', not {layout!r}")
    if isinstance(w, PackedFilters):
        return _packed(x, w, bias, stride, padding, groups, dilation, layout, algorithm, out)
    seen = (layout, algorithm, dilation, groups, stride, padding)
    done = again("conv2d", seen, (x, w) if bias is None else (x, w, bias), out)
    if done is not None:
        return done
    a, b = as_arrays("conv2d", x=x, w=w)
    image, kernel = a.shape, b.shape
    if layout == "NHWC" and a.ndim == b.ndim == 4:
        image, kernel = tuple(image[at] for at in (0, 3, 1, 2)), tuple(kernel[at] for at in (3, 2, 0, 1))
    if a.ndim != 4 or b.ndim != 4 or kernel[2] != kernel[3] or image[1] != kernel[1] * groups:
        raise KernelError(
            f"conv2d takes shapes {shapes[layout]} in layout {layout}, and got {a.shape} and {b.shape} "
            f"with groups={groups}"
        )
    if algorithm == "auto":
        from flashsched.ops.conv2d import best_algorithm

        ways: dict[str, Any] = {
            "stride": stride,
            "groups": groups,
            "dilation": dilation,
            "layout": layout,
            "dtype": str(a.dtype),
        }
        algorithm = best_algorithm(image, kernel[0], kernel[2], padding, **ways)
    arrays = [a, b]
    options: list[tuple[str, Any]] = [("dilation", dilation), ("groups", groups), ("layout", layout)]
    if bias is not None:
        arrays += as_arrays("conv2d", bias=bias)
        options.insert(0, ("bias", True))
    options.insert(0, ("algorithm", algorithm))
    return run("conv2d", (*image, kernel[0], kernel[2], stride, padding), tuple(options), arrays, out, seen)


def _packed(
    x: Any,
    w: PackedFilters,
    bias: Any,
    stride: int,
    padding: int,
    groups: int,
    dilation: int,
    layout: str,
    algorithm: str,
    out: Any,
) -> Array:
    """`conv2d` of filters that were packed ahead."""
    seen = (w.algorithm, dilation, stride, padding, layout)
    inputs = (x, w.panels) if bias is None else (x, w.panels, bias)
    if groups == 1 and layout == w.layout and algorithm in ("auto", w.algorithm):
        done = again("packed_conv2d", seen, inputs, out)
        if done is not None:
            return done
    asked = {"groups": (groups, 1), "layout": (layout, w.layout), "algorithm": (algorithm, w.algorithm)}
    for name, (mine, its) in asked.items():
        if mine not in (its, "auto"):
            raise KernelError(f"conv2d: {name} is {mine!r}, and the weights were packed for {its!r}")
    a, b = as_arrays("conv2d", x=x, w=w.panels)
    image = tuple(a.shape[at] for at in (0, 3, 1, 2)) if layout == "NHWC" and a.ndim == 4 else a.shape
    if len(image) != 4 or image[1] != w.shape[1]:
        raise KernelError(f"conv2d takes images with {w.shape[1]} channels for weights {w.shape}, and got {a.shape}")
    arrays = [a, b]
    options: list[tuple[str, Any]] = [("algorithm", w.algorithm), ("dilation", dilation), ("layout", layout)]
    if bias is not None:
        arrays += as_arrays("conv2d", bias=bias)
        options.insert(1, ("bias", True))
    shape = (*image, w.shape[0], w.shape[2], stride, padding, b.shape[-1])
    return run("packed_conv2d", shape, tuple(options), arrays, out, seen)
