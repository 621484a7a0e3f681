"""StableHLO: a graph's text has the shape that it should have, and XLA, where it is here, computes the same of it."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flashsched as fs
from flashsched import te
from flashsched.codegen.stablehlo import to_stablehlo
from flashsched.errors import KernelError, LoweringError
from flashsched.ops import find_operator
from flashsched.te.dtypes import numpy_dtype
from flashsched.te.evaluate import run_graph
from flashsched.te.tensor import PlaceholderOp, Tensor

Graph = Callable[[], list[Tensor]]


def of_operator(op: str, shape: tuple[int, ...], **options: Any) -> Graph:
    return lambda: list(find_operator(op).args(shape, "float32", options))


def floors() -> list[Tensor]:
    A, B = te.placeholder((7,), "int32", name="A"), te.placeholder((7,), "int32", name="B")
    return [A, B, te.compute((7,), lambda i: A[i] // 3 + A[i] % 3 * 10 + B[6 - i] % -4, name="C")]


def looked_up() -> list[Tensor]:
    T, at = te.placeholder((5, 3), name="T"), te.placeholder((4,), "int64", name="at")
    return [T, at, te.compute((4, 3), lambda i, j: T[at[i] % 5, 2 - j], name="C")]


def strided() -> list[Tensor]:
    A = te.placeholder((9, 4), name="A")
    return [A, te.compute((4, 3), lambda i, j: A[2 * i + 1, j + 1] - A[0, j], name="C")]


def padded() -> list[Tensor]:
    A = te.placeholder((5,), name="A")
    return [A, te.compute((9,), lambda i: te.select(te.all(i >= 2, i < 7), A[i - 2], 0.5), name="C")]


def largest() -> list[Tensor]:
    A, k = te.placeholder((3, 6), name="A"), te.reduce_axis((0, 6), name="k")
    at, value = te.compute((3,), lambda i: te.argmax(A[i, k], axis=k), name="M")
    return [A, at, value]


def batched() -> list[Tensor]:
    A, B = te.placeholder((2, 3, 4), "float16", name="A"), te.placeholder((2, 5, 4), "float16", name="B")
    k = te.reduce_axis((0, 4), name="k")
    return [A, B, te.compute(
        (2, 5, 3), lambda b, j, i: te.sum(A[b, i, k].astype("float32") * B[b, j, k].astype("float32"), axis=k), name="C"
    )]  # fmt: skip


def conditions() -> list[Tensor]:
    A = te.placeholder((8,), name="A")
    near = te.compute((8,), lambda i: te.any(A[i] < -1, te.all(A[i] > 0, i % 2 == 0)), name="near")
    return [A, near, te.compute((8,), lambda i: te.select(near[i], te.exp(A[i]), A[i].astype("int32") * 2.0), name="C")]


GRAPHS: dict[str, tuple[Graph, str]] = {
    "matmul": (of_operator("matmul", (4, 5, 6), bias=True, activation="relu"), "dot_general"),
    "conv2d": (of_operator("conv2d", (1, 3, 8, 7, 4, 3, 1, 0)), "convolution"),
    "conv2d with stride and padding": (of_operator("conv2d", (2, 3, 9, 8, 4, 3, 2, 1)), "convolution"),
    "softmax": (of_operator("softmax", (4, 9)), "reduce"),
    "layernorm": (of_operator("layernorm", (4, 9)), "reduce"),
    "attention": (of_operator("attention", (1, 2, 6, 4)), "dot_general"),
    "causal attention": (of_operator("attention", (1, 2, 6, 4), causal=True), "dot_general"),
    "floors": (floors, "remainder"),
    "looked up": (looked_up, "gather"),
    "strided": (strided, "slice"),
    "padded": (padded, "gather"),
    "argmax": (largest, "reduce"),
    "batched": (batched, "dot_general"),
    "conditions": (conditions, "select"),
}


def feeds_of(args: list[Tensor]) -> dict[Tensor, np.ndarray]:
    rng = np.random.default_rng(0)
    return {t: rng.integers(-3, 4, t.known_shape).astype(numpy_dtype(t.dtype)) for t in args if is_input(t)}


def is_input(tensor: Tensor) -> bool:
    return isinstance(tensor.op, PlaceholderOp)


@pytest.mark.parametrize(("graph", "holds"), GRAPHS.values(), ids=GRAPHS)
def test_the_text_is_well_formed(graph: Graph, holds: str) -> None:
    args = graph()
    text = to_stablehlo(args)
    assert f"stablehlo.{holds}" in text
    made = re.findall(r"^ *((?:%\w+(?:, )?)+) = ", text, re.MULTILINE)
    names = [name for group in made for name in group.split(", ")]
    params = re.findall(r"(%(?:arg|a|b)\w*): tensor", text)
    assert len(set(names)) == len(names)  # each value is made once
    assert set(re.findall(r"%\w+", text)) <= {*names, *params}  # and all that is used is made
    assert text.count("{") == text.count("}")
    outputs = ", ".join(kind for kind in re.findall(r"-> \((.*?)\) \{", text)[:1])
    assert len(re.findall("tensor<", outputs)) == sum(not is_input(t) for t in args)


@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="jax is not installed")
@pytest.mark.parametrize(("graph", "holds"), GRAPHS.values(), ids=GRAPHS)
def test_xla_computes_the_same(graph: Graph, holds: str) -> None:
    import jax
    from jax._src.lib import xla_client

    jax.config.update("jax_enable_x64", True)
    args = graph()
    device = jax.devices("cpu")[0]
    devices = xla_client.DeviceList((device,))
    compiled = device.client.compile_and_load(to_stablehlo(args).encode(), devices, xla_client.CompileOptions())
    feeds = feeds_of(args)
    found = compiled.execute([jax.device_put(array, device) for array in feeds.values()])
    wanted = run_graph([t for t in args if not is_input(t)], feeds)
    for ours, reference in zip(found, wanted, strict=True):
        np.testing.assert_allclose(np.asarray(ours), reference, rtol=2e-6, atol=1e-6)


def test_a_product_needs_no_copy_of_its_operands() -> None:
    A, B = te.placeholder((4, 8), name="A"), te.placeholder((8, 2), name="B")
    k = te.reduce_axis((0, 8), name="k")
    C = te.compute((4, 2), lambda i, j: te.sum(A[i, k] * B[k, j], axis=k), name="C")
    assert fs.to_stablehlo([A, B, C]) == (
        "module @flashsched {\n"
        "  func.func public @main(%arg0: tensor<4x8xf32>, %arg1: tensor<8x2xf32>) -> (tensor<4x2xf32>) {\n"
        "    // C\n"
        "    %v1 = stablehlo.dot_general %arg0, %arg1, contracting_dims = [1] x [0], precision = [HIGHEST, HIGHEST] : "
        "(tensor<4x8xf32>, tensor<8x2xf32>) -> tensor<4x2xf32>\n"
        "    return %v1 : tensor<4x2xf32>\n"
        "  }\n"
        "}\n"
    )


def test_what_stablehlo_has_not_is_refused() -> None:
    n = te.var("n")
    A, S = te.placeholder((4,), name="A"), te.placeholder((n,), name="S")
    with pytest.raises(LoweringError, match=r"erf\(\) has no operation in StableHLO"):
        to_stablehlo([A, te.compute((4,), lambda i: te.erf(A[i]), name="C")])
    with pytest.raises(KernelError, match="A is not among the arguments"):
        to_stablehlo([te.compute((4,), lambda i: A[i] + 1, name="C")])
    with pytest.raises(KernelError, match="no output is among the arguments"):
        to_stablehlo([A])
    with pytest.raises(fs.FlashschedError, match="n"):
        to_stablehlo([S, te.compute((n,), lambda i: S[i] + 1, name="C")])
