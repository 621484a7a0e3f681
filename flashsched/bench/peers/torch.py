"""PyTorch: preallocated outputs where it takes them, images with their channels last, weights packed by oneDNN.

Left to itself, its products go to MKL, which runs AVX2 code on CPUs that are not Intel's; oneDNN, which is in it too,
looks at what the CPU can do. An expert tries both, and so does this peer. Nothing here asks for less than float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from flashsched.bench.computations import EPSILON
from flashsched.bench.peers.peer import Peer, Way, Work

__all__ = ["TORCH"]


def _ways(work: Work) -> Iterator[Way]:
    import torch  # type: ignore[import-not-found,unused-ignore]

    torch.set_num_threads(work.threads)
    torch.set_grad_enabled(False)
    make = _MAKERS.get(work.case.op)
    if make is not None:
        yield from make(torch, work, [torch.from_numpy(array) for array in work.inputs])


def _into(name: str, call: Callable[[], Any], out: Any) -> Way:
    """A way that fills *out*."""
    out.fill_(float("nan"))
    return Way(name, call, lambda: np.asarray(out))


def _fresh(name: str, call: Callable[[], Any]) -> Way:
    """A way that returns a new tensor at each call."""
    last: list[Any] = [None]

    def keep() -> None:
        last[0] = call()

    return Way(name, keep, lambda: np.asarray(last[0].contiguous()))


def _matmul(torch: Any, work: Work, x: list[Any]) -> Iterator[Way]:
    a, b, *bias = x
    relu = torch.nn.functional.relu_
    activation = work.activation
    out = torch.empty(work.case.out_shape, dtype=a.dtype)
    room = torch.empty_like(out)

    def plain() -> None:
        target = room if activation == "gelu" else out
        if bias:
            torch.addmm(bias[0], a, b, out=target)
        else:
            torch.mm(a, b, out=target)
        if activation == "relu":
            relu(target)
        elif activation == "gelu":
            torch.ops.aten.gelu.out(target, approximate="tanh", out=out)

    yield _into("mm(out=)", plain, out)
    if a.dtype != torch.float32 or not torch.backends.mkldnn.is_available():
        return
    packed = torch.ops.mkldnn._reorder_linear_weight(b.t().contiguous(), a.shape[0])
    fused = torch.ops.mkldnn._linear_pointwise
    after, way = {"relu": ("relu", ""), "gelu": ("gelu", "tanh"), None: ("none", "")}[activation]
    yield _fresh("oneDNN, packed", lambda: fused(a, packed, bias[0] if bias else None, after, [], way))


def _batch_matmul(torch: Any, work: Work, x: list[Any]) -> Iterator[Way]:
    out = torch.empty(work.case.out_shape, dtype=x[0].dtype)
    yield _into("bmm(out=)", lambda: torch.bmm(x[0], x[1], out=out), out)


def _conv2d(torch: Any, work: Work, x: list[Any]) -> Iterator[Way]:
    image, weight, *rest = x
    bias = rest[0] if rest else None
    _, _, _, _, _, _, stride, padding = work.case.shape
    groups, dilation = work.case.options.get("groups", 1), work.case.options.get("dilation", 1)
    conv2d = torch.nn.functional.conv2d
    yield _fresh("channels first", lambda: conv2d(image, weight, bias, stride, padding, dilation, groups))
    last, last_weight = (tensor.contiguous(memory_format=torch.channels_last) for tensor in (image, weight))
    yield _fresh("channels last", lambda: conv2d(last, last_weight, bias, stride, padding, dilation, groups))
    if image.dtype != torch.float32 or not torch.backends.mkldnn.is_available():
        return
    sizes = [[padding] * 2, [stride] * 2, [dilation] * 2]
    packed = torch._C._nn.mkldnn_reorder_conv2d_weight(weight.to_mkldnn(), *sizes, groups, list(image.shape))
    fused = torch.ops.mkldnn._convolution_pointwise
    for name, tensor in (("oneDNN, packed, channels last", last), ("oneDNN, packed", image)):
        yield _fresh(
            name,
            lambda tensor=tensor: fused(tensor, packed, bias, *sizes, groups, "none", [], ""),  # type: ignore[misc]
        )


def _attention(torch: Any, work: Work, x: list[Any]) -> Iterator[Way]:
    attend = torch.nn.functional.scaled_dot_product_attention
    causal = bool(work.case.options.get("causal"))
    yield _fresh("scaled_dot_product_attention", lambda: attend(*x, is_causal=causal))


def _softmax(torch: Any, work: Work, x: list[Any]) -> Iterator[Way]:
    out = torch.empty_like(x[0])
    yield _into("softmax(out=)", lambda: torch.softmax(x[0], -1, out=out), out)


def _layernorm(torch: Any, work: Work, x: list[Any]) -> Iterator[Way]:
    size = list(x[0].shape[-1:])
    out, mean, rstd = torch.empty_like(x[0]), *(torch.empty(x[0].shape[0], 1, dtype=x[0].dtype) for _ in range(2))
    norm = torch.ops.aten.native_layer_norm.out
    yield _into("layer_norm(out=)", lambda: norm(*x[:1], size, *x[1:], EPSILON, out0=out, out1=mean, out2=rstd), out)
    yield _fresh("layer_norm", lambda: torch.nn.functional.layer_norm(x[0], size, x[1], x[2], EPSILON))


def _rmsnorm(torch: Any, work: Work, x: list[Any]) -> Iterator[Way]:
    size = list(x[0].shape[-1:])
    yield _fresh("rms_norm", lambda: torch.nn.functional.rms_norm(x[0], size, x[1], EPSILON))


def _add(torch: Any, work: Work, x: list[Any]) -> Iterator[Way]:
    out = torch.empty_like(x[0])
    yield _into("add(out=)", lambda: torch.add(x[0], x[1], out=out), out)


def _relu(torch: Any, work: Work, x: list[Any]) -> Iterator[Way]:
    out = torch.empty_like(x[0])
    yield _into("clamp_min(out=)", lambda: torch.clamp_min(x[0], 0, out=out), out)


_MAKERS = {
    "matmul": _matmul,
    "batch_matmul": _batch_matmul,
    "conv2d": _conv2d,
    "attention": _attention,
    "softmax": _softmax,
    "layernorm": _layernorm,
    "rmsnorm": _rmsnorm,
    "add": _add,
    "relu": _relu,
}

TORCH = Peer("torch", "PyTorch", "torch", "torch", _ways)
