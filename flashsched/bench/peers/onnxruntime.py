"""ONNX Runtime: a model of one operator, its weights held as constants, which it packs, inputs and output bound ahead.

Where there are several operators for the same, the standard's and the library's own, each is tried.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from flashsched.bench.computations import EPSILON, Array
from flashsched.bench.peers.peer import Peer, Way, Work, empty

__all__ = ["ONNXRUNTIME"]

Nodes = list[tuple[str, Sequence[str], str, dict[str, Any]]]
"""Of a model: operator, inputs, output, attributes. The inputs of the case are i0, i1, …; the output is y."""

_OPSET = 23
_OWN = "com.microsoft"


def _ways(work: Work) -> Iterator[Way]:
    make = _MAKERS.get(work.case.op)
    if make is None:
        return
    for name, nodes, constants in make(work):
        yield _way(work, name, nodes, constants)


def _way(work: Work, name: str, nodes: Nodes, extra: dict[str, Array]) -> Way:
    import onnxruntime as ort  # type: ignore[import-untyped,import-not-found,unused-ignore]

    constants = {f"i{i}": np.ascontiguousarray(work.inputs[i])
                 for i in work.case.computation.constants if i < len(work.inputs)} | extra  # fmt: skip
    arguments = {f"i{i}": work.contiguous(i) for i in range(len(work.inputs)) if f"i{i}" not in constants}
    for i in work.case.transposed:  # the model turns what lies transposed, as a model from elsewhere would
        if f"i{i}" in arguments:
            nodes = [("Transpose", [f"i{i}"], f"turned{i}", {"perm": [1, 0]}), *_renamed(nodes, f"i{i}", f"turned{i}")]
    out = empty(work.case.out_shape, work.case.dtype)
    options = ort.SessionOptions()
    options.intra_op_num_threads = work.threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    model = _model(nodes, arguments, constants, out)
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    values = {key: ort.OrtValue.ortvalue_from_numpy(array) for key, array in arguments.items()}
    for key, value in values.items():
        binding.bind_ortvalue_input(key, value)
    held = ort.OrtValue.ortvalue_from_numpy(out)
    binding.bind_ortvalue_output("y", held)
    run = session.run_with_iobinding
    return Way(name, lambda: run(binding), lambda: held.numpy())


def _renamed(nodes: Nodes, old: str, new: str) -> Nodes:
    return [(op, [new if name == old else name for name in inputs], out, given) for op, inputs, out, given in nodes]


def _model(nodes: Nodes, arguments: dict[str, Array], constants: dict[str, Array], out: Array) -> bytes:
    from onnx import helper, numpy_helper  # type: ignore[import-not-found,unused-ignore]

    made = []
    for op, inputs, output, given in nodes:
        domain, _, name = op.rpartition("::")
        made.append(helper.make_node(name, list(inputs), [output], domain=domain, **given))
    graph = helper.make_graph(
        made,
        "case",
        [helper.make_tensor_value_info(key, _kind(array), array.shape) for key, array in arguments.items()],
        [helper.make_tensor_value_info("y", _kind(out), out.shape)],
        [numpy_helper.from_array(array, key) for key, array in constants.items()],
    )
    domains = [helper.make_opsetid("", _OPSET), helper.make_opsetid(_OWN, 1)]
    model: bytes = helper.make_model(graph, opset_imports=domains, ir_version=10).SerializeToString()
    return model


def _kind(array: Array) -> int:
    from onnx import helper  # type: ignore[import-not-found,unused-ignore]

    kind: int = helper.np_dtype_to_tensor_dtype(array.dtype)
    return kind


Made = Iterator[tuple[str, Nodes, dict[str, Array]]]


def _matmul(work: Work) -> Made:
    bias = len(work.inputs) > 2
    product = "product" if bias or work.activation else "y"
    sum_ = "sum" if work.activation else "y"
    nodes: Nodes = [("MatMul", ["i0", "i1"], product, {})]
    if bias:
        nodes.append(("Add", [product, "i2"], sum_, {}))
    source = sum_ if bias else product
    if work.activation == "relu":
        nodes.append(("Relu", [source], "y", {}))
    if work.activation == "gelu":
        yield "MatMul, Gelu", [*nodes, ("Gelu", [source], "y", {"approximate": "tanh"})], {}
        nodes = [nodes[0], (f"{_OWN}::FastGelu", [product, *(["i2"] if bias else [])], "y", {})]
    yield "MatMul", nodes, {}
    if bias and work.activation in (None, "relu"):
        gemm: Nodes = [("Gemm", ["i0", "i1", "i2"], sum_, {})]
        yield "Gemm", [*gemm, *nodes[2:]], {}


def _batch_matmul(work: Work) -> Made:
    yield "MatMul", [("MatMul", ["i0", "i1"], "y", {})], {}


def _conv2d(work: Work) -> Made:
    *_, window, stride, padding = work.case.shape
    given = {
        "kernel_shape": [window] * 2,
        "strides": [stride] * 2,
        "pads": [padding] * 4,
        "group": work.case.options.get("groups", 1),
        "dilations": [work.case.options.get("dilation", 1)] * 2,
    }
    yield "Conv", [("Conv", [f"i{i}" for i in range(len(work.inputs))], "y", given)], {}


def _attention(work: Work) -> Made:
    causal, (_, _, length, width) = int(bool(work.case.options.get("causal"))), work.case.shape
    yield "Attention", [("Attention", ["i0", "i1", "i2"], "y", {"is_causal": causal})], {}
    extra = {"scale": np.asarray(1 / math.sqrt(width), work.case.dtype)}
    nodes: Nodes = [
        ("Transpose", ["i1"], "turned", {"perm": [0, 1, 3, 2]}),
        ("MatMul", ["i0", "turned"], "product", {}),
        ("Mul", ["product", "scale"], "scaled", {}),
    ]
    if causal:
        nodes.append(("Add", ["scaled", "hidden"], "seen", {}))
        extra["hidden"] = np.where(np.tri(length, dtype=bool), 0, -np.inf).astype(work.case.dtype)
    nodes += [
        ("Softmax", ["seen" if causal else "scaled"], "shares", {"axis": -1}),
        ("MatMul", ["shares", "i2"], "y", {}),
    ]
    yield "two MatMuls", nodes, extra


def _softmax(work: Work) -> Made:
    yield "Softmax", [("Softmax", ["i0"], "y", {"axis": -1})], {}


def _layernorm(work: Work) -> Made:
    given = {"axis": -1, "epsilon": EPSILON}
    yield "LayerNormalization", [("LayerNormalization", ["i0", "i1", "i2"], "y", given)], {}


def _rmsnorm(work: Work) -> Made:
    given = {"axis": -1, "epsilon": EPSILON}
    yield "RMSNormalization", [("RMSNormalization", ["i0", "i1"], "y", given)], {}
    yield "SimplifiedLayerNormalization", [("SimplifiedLayerNormalization", ["i0", "i1"], "y", given)], {}


def _add(work: Work) -> Made:
    yield "Add", [("Add", ["i0", "i1"], "y", {})], {}


def _relu(work: Work) -> Made:
    yield "Relu", [("Relu", ["i0"], "y", {})], {}


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

ONNXRUNTIME = Peer("onnxruntime", "ONNX Runtime", "onnxruntime", "onnxruntime", _ways)
