"""``fs.prepack``: weights that do not change, copied once into the order in which kernels read them.

A kernel that is given plain weights makes that copy in each call, which for small images or few rows takes longer than
all the rest. Winograd's weights are transformed as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from flashsched.errors import KernelError
from flashsched.functions.kernels import Array, as_arrays
from flashsched.hw import DeviceSpec, devices
from flashsched.ops.conv2d import ALGORITHMS, best_algorithm
from flashsched.ops.conv2d_cpu import filters_tile
from flashsched.ops.gemm_plan import register_tile, vector_shape
from flashsched.ops.matmul import accumulator
from flashsched.ops.winograd import TRANSFORMS

__all__ = ["Packed", "PackedFilters", "panels_of", "prepack"]


@dataclass(frozen=True)
class Packed:
    """A matrix in the order in which kernels read it; what `prepack` gives, and `matmul` takes as its right side.

    Attributes:
        panels: shape (N / W rounded up, K, W): W columns after another, zeros after the last.
        shape: of the matrix, (K, N).
    """

    panels: Array
    shape: tuple[int, int]

    def __repr__(self) -> str:
        return f"<Packed {self.panels.dtype}{list(self.shape)}, {self.panels.shape[-1]} columns a panel>"


@dataclass(frozen=True)
class PackedFilters:
    """The weights of a convolution in the order in which kernels read them; `conv2d` takes them for its ``w``.

    Attributes:
        panels: filters in panels of the last dimension, as the operator ``packed_conv2d`` takes them.
        shape: of the weights, (O, C, KH, KH) in every layout.
        layout: of the images.
        algorithm: what they are packed for.
    """

    panels: Array
    shape: tuple[int, int, int, int]
    layout: str
    algorithm: str

    def __repr__(self) -> str:
        width = self.panels.shape[-1]
        return f"<PackedFilters {self.panels.dtype}{list(self.shape)}, {width} a panel, {self.algorithm}>"


def prepack(
    b: Any,
    rows: int = 256,
    *,
    image: tuple[int, ...] | None = None,
    stride: int = 1,
    padding: int = 1,
    dilation: int = 1,
    layout: str = "NCHW",
    algorithm: str = "auto",
) -> Packed | PackedFilters:
    """Weights that are used many times, packed once: a matrix for `matmul`, or the filters of a `conv2d`.

    The copy is what kernels else make in each call. Later changes of *b* do not reach it.

    Args:
        b: a matrix, shape (K, N), for ``fs.matmul(a, packed)``; or weights as `conv2d` takes them, for
            ``fs.conv2d(x, packed)``.
        rows: about how many rows the left sides of a product have.
        image: the shape of the images that are filtered, in *layout*.
        stride, padding, dilation, layout, algorithm: as for `conv2d`.

    Raises:
        KernelError: *b* is neither, or *image* is missing or does not fit.
        TuneError: the algorithm is not for such a convolution.
    """
    (weights,) = as_arrays("prepack", b=b)
    if weights.ndim == 2:
        return _matrix(weights, rows)
    if weights.ndim != 4:
        raise KernelError(f"prepack takes a matrix (K, N) or the weights of a conv2d, and got shape {weights.shape}")
    if image is None:
        raise KernelError("prepack packs weights of conv2d for images of one size", hint="say image=x.shape")
    last = layout == "NHWC"
    o, c, kh, kw = (weights.shape[at] for at in ((3, 2, 0, 1) if last else (0, 1, 2, 3)))
    size = tuple(image[at] for at in ((0, 3, 1, 2) if last else (0, 1, 2, 3))) if len(image) == 4 else ()
    if not size or kh != kw or size[1] != c:
        raise KernelError(
            f"prepack: weights of shape {weights.shape} do not fit images of shape {tuple(image)} in layout {layout}",
            hint="groups are not packed: their weights are read as they lie",
        )
    dtype, spec = str(weights.dtype), devices["cpu"]
    if algorithm == "auto":
        ways: dict[str, Any] = {"stride": stride, "groups": 1, "dilation": dilation, "layout": layout, "dtype": dtype}
        algorithm = best_algorithm(size, o, kh, padding, **ways, packed=True)
    columns = (size[3] + 2 * padding - dilation * (kh - 1) - 1) // stride + 1
    if algorithm == "direct":
        wide = accumulator(dtype)
        width = filters_tile(columns, o, c * kh * kw, spec, wide)[1] * vector_shape(spec, wide)[0]
        panels = panels_of(weights if last else weights.transpose(1, 2, 3, 0), width)
        return PackedFilters(panels, (o, c, kh, kw), layout, algorithm)
    m = ALGORITHMS[algorithm]
    matrix = np.array(TRANSFORMS[m].weights, np.float64)
    made = np.einsum("ai,ocij,bj->abco", matrix, weights.astype(np.float64), matrix, optimize=True)
    width = _width(-(-columns // m), o, spec, dtype)
    panels = panels_of(made.astype(weights.dtype), width, to=2)
    return PackedFilters(panels, (o, c, kh, kw), layout, algorithm)


def _matrix(matrix: Array, rows: int) -> Packed:
    depth, n = matrix.shape
    width = _width(rows, n, devices["cpu"], str(matrix.dtype))
    return Packed(panels_of(matrix, width), (depth, n))


def _width(rows: int, columns: int, spec: DeviceSpec, dtype: str) -> int:
    """Columns of the register tile of a product."""
    wide = accumulator(dtype)
    lanes, _ = vector_shape(spec, wide)
    return register_tile(rows, columns, spec, wide)[1] * lanes


def panels_of(weights: Array, width: int, to: int = 0) -> Array:
    """The last dimension in panels of *width*, zeros after the last one, which dimension *to* counts."""
    *others, n = weights.shape
    count = -(-n // width)
    padded = np.zeros((*others, count * width), weights.dtype)
    padded[..., :n] = weights
    return np.ascontiguousarray(np.moveaxis(padded.reshape(*others, count, width), -2, to))
