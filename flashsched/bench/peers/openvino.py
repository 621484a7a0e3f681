"""OpenVINO: a model of one operator, its weights held as constants, which it packs, for the lowest latency.

Where a CPU has bfloat16 it would compute in that: it is told to stay with the model's own precision, as all others do.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from flashsched.bench.computations import EPSILON
from flashsched.bench.peers.peer import Peer, Way, Work, empty

__all__ = ["OPENVINO"]


def _ways(work: Work) -> Iterator[Way]:
    import openvino as ov  # type: ignore[import-not-found,unused-ignore]
    from openvino import opset13 as ops  # type: ignore[import-not-found,unused-ignore]

    make = _MAKERS.get(work.case.op)
    if make is None or work.case.dtype not in ("float32",):  # its CPU plugin computes float64 in float32
        return
    held = [i for i in work.case.computation.constants if i < len(work.inputs)]
    given = [i for i in range(len(work.inputs)) if i not in held]
    for name, function in make(ops, work):
        arrays = {i: work.contiguous(i) for i in given}
        parameters = {i: ops.parameter(array.shape, np.float32) for i, array in arrays.items()}
        nodes: list[Any] = []
        for i, array in enumerate(work.inputs):
            node = parameters[i] if i in parameters else ops.constant(np.ascontiguousarray(array))
            turned = i in parameters and i in work.case.transposed
            nodes.append(ops.transpose(node, np.array([1, 0])) if turned else node)
        model = ov.Model([function(*nodes)], list(parameters.values()), "case")
        yield _way(ov, work, name, model, list(arrays.values()))


def _way(ov: Any, work: Work, name: str, model: Any, arrays: list[Any]) -> Way:
    wanted = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": work.threads,
        "NUM_STREAMS": 1,
        "INFERENCE_PRECISION_HINT": "f32",
        "ENABLE_CPU_PINNING": False,
    }
    request = ov.Core().compile_model(model, "CPU", wanted).create_infer_request()
    out = empty(work.case.out_shape, np.float32)
    for index, array in enumerate(arrays):
        request.set_input_tensor(index, ov.Tensor(array, shared_memory=True))
    request.set_output_tensor(ov.Tensor(out, shared_memory=True))

    def call() -> None:
        request.start_async()
        request.wait()

    return Way(name, call, lambda: out)


Made = Iterator[tuple[str, Any]]


def _matmul(ops: Any, work: Work) -> Made:
    def product(a: Any, b: Any, *bias: Any) -> Any:
        y = ops.matmul(a, b, False, False)
        y = ops.add(y, bias[0]) if bias else y
        if work.activation == "relu":
            return ops.relu(y)
        return ops.gelu(y, "tanh") if work.activation == "gelu" else y

    yield "MatMul", product


def _conv2d(ops: Any, work: Work) -> Made:
    _, channels, _, _, filters, window, stride, padding = work.case.shape
    groups = work.case.options.get("groups", 1)
    sizes = [[stride] * 2, [padding] * 2, [padding] * 2, [work.case.options.get("dilation", 1)] * 2]

    def convolution(x: Any, w: Any, *bias: Any) -> Any:
        if groups == 1:
            y = ops.convolution(x, w, *sizes)
        else:
            shape = np.array([groups, filters // groups, channels // groups, window, window])
            y = ops.group_convolution(x, ops.reshape(w, shape, False), *sizes)
        return ops.add(y, ops.reshape(bias[0], np.array([1, -1, 1, 1]), False)) if bias else y

    yield "Convolution", convolution


def _attention(ops: Any, work: Work) -> Made:
    causal, (_, _, length, width) = bool(work.case.options.get("causal")), work.case.shape
    yield "ScaledDotProductAttention", lambda q, k, v: ops.scaled_dot_product_attention(q, k, v, causal=causal)

    def plain(q: Any, k: Any, v: Any) -> Any:
        scale = ops.constant(np.float32(1 / math.sqrt(width)))
        scores = ops.multiply(ops.matmul(q, k, False, True), scale)
        if causal:
            hidden = np.where(np.tri(length, dtype=bool), 0, -np.inf).astype(np.float32)
            scores = ops.add(scores, ops.constant(hidden))
        return ops.matmul(ops.softmax(scores, -1), v, False, False)

    yield "two MatMuls", plain


def _mean(ops: Any, x: Any) -> Any:
    return ops.reduce_mean(x, np.array([-1]), True)


def _layernorm(ops: Any, work: Work) -> Made:
    def norm(x: Any, gamma: Any, beta: Any) -> Any:
        return ops.add(ops.multiply(ops.mvn(x, np.array([-1]), True, EPSILON, "inside_sqrt"), gamma), beta)

    yield "MVN", norm


def _rmsnorm(ops: Any, work: Work) -> Made:
    def norm(x: Any, gamma: Any) -> Any:
        squares = _mean(ops, ops.power(x, ops.constant(np.float32(2))))
        root = ops.sqrt(ops.add(squares, ops.constant(np.float32(EPSILON))))
        return ops.multiply(ops.multiply(x, ops.divide(ops.constant(np.float32(1)), root)), gamma)

    yield "as RMS", norm


def _softmax(ops: Any, work: Work) -> Made:
    yield "Softmax", lambda x: ops.softmax(x, -1)


def _add(ops: Any, work: Work) -> Made:
    yield "Add", ops.add


def _relu(ops: Any, work: Work) -> Made:
    yield "Relu", ops.relu


_MAKERS = {
    "matmul": _matmul,
    "batch_matmul": _matmul,
    "conv2d": _conv2d,
    "attention": _attention,
    "softmax": _softmax,
    "layernorm": _layernorm,
    "rmsnorm": _rmsnorm,
    "add": _add,
    "relu": _relu,
}

OPENVINO = Peer("openvino", "OpenVINO", "openvino", "openvino", _ways)
