"""Programs as mathematics: each construct in both dialects, and every program has a text."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from flashsched import te
from flashsched.errors import ExpressionError
from flashsched.te.expr import Expr
from flashsched.te.tensor import graph
from flashsched.testing.graphs import Graph, graphs
from flashsched.testing.programs import argmax, matmul

A = te.placeholder((8, 8), name="A")
I = te.placeholder((8,), "int32", name="index")  # noqa: E741


def both(body: Any) -> tuple[str, str]:
    """What stands right of the equals sign, as text and as LaTeX."""
    C = te.compute((8, 8), body, name="C")
    text, latex = te.mathematics(C), te.mathematics(C, latex=True)
    last = latex.splitlines()[-2]
    return text.splitlines()[-1].split(" = ", 1)[1].rsplit("   (", 1)[0], last.split("&= ", 1)[1].rsplit(" && (", 1)[0]


CASES: list[tuple[Any, str, str]] = [
    (lambda i, j: (A[i, j] + 1) * 2, "(A[i, j] + 1) · 2", r"\left(A_{i, j} + 1\right) \cdot 2"),
    (lambda i, j: A[i, j] - (A[j, i] - 1), "A[i, j] - (A[j, i] - 1)", r"A_{i, j} - \left(A_{j, i} - 1\right)"),
    (lambda i, j: A[i, j] / (A[j, i] + 0.5), "A[i, j] / (A[j, i] + 0.5)",
     r"\frac{A_{i, j}}{A_{j, i} + 0.5}"),
    (lambda i, j: A[i // 2, j % 3], "A[⌊i / 2⌋, j mod 3]", r"A_{\left\lfloor \frac{i}{2} \right\rfloor, j \bmod 3}"),
    (lambda i, j: -te.abs(A[i, j]), "-|A[i, j]|", r"-\left|A_{i, j}\right|"),
    (lambda i, j: te.sqrt(te.exp(A[i, j])), "sqrt(exp(A[i, j]))", r"\sqrt{\exp\left(A_{i, j}\right)}"),
    (lambda i, j: te.pow(A[i, j] + 1, 2.0), "(A[i, j] + 1)^2", r"{\left(A_{i, j} + 1\right)}^{2}"),
    (lambda i, j: te.maximum(A[i, j], 0), "max(A[i, j], 0)", r"\max\left(A_{i, j}, 0\right)"),
    (lambda i, j: A[I[i], j], "A[int64(index[i]), j]", r"A_{\mathrm{int64}(\mathit{index}_{i}), j}"),
    (lambda i, j: te.select(i <= j, A[i, j], te.select(te.all(i == 3, j != 2), 1.0, te.min_value("float32"))),
     "{ A[i, j] if i ≤ j; 1 if i = 3 ∧ j ≠ 2; -∞ otherwise }",
     r"\begin{cases} A_{i, j} & \text{if } i \le j \\ 1 & \text{if } i = 3 \land j \ne 2 \\ -\infty & "
     r"\text{otherwise} \end{cases}"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "text", "latex"), CASES)
def test_expressions(body: Any, text: str, latex: str) -> None:
    assert both(body) == (text, latex)


def test_a_product_of_matrices() -> None:
    *_, C = matmul(512, 256, 128)
    assert te.mathematics(C) == (
        "A is given   (float32, 512×128)\nB is given   (float32, 128×256)\n"
        "C[i, j] = Σ_{k<128} A[i, k] · B[k, j]   (float32, 512×256)"
    )
    assert te.mathematics(C, latex=True) == "\n".join(
        [
            r"\begin{aligned}",
            r"A &\text{ is given} && (\mathrm{float32},\ 512 \times 128) \\",
            r"B &\text{ is given} && (\mathrm{float32},\ 128 \times 256) \\",
            r"C_{i, j} &= \sum_{k < 128} A_{i, k} \cdot B_{k, j} && (\mathrm{float32},\ 512 \times 256)",
            r"\end{aligned}",
        ]
    )


def test_reducers() -> None:
    j, k = te.reduce_axis((0, 4), name="j"), te.reduce_axis((2, 7), name="k")
    total = te.compute((), lambda: te.sum(A[j, k] + 1, axis=[j, k]), name="total")
    assert te.mathematics(total).splitlines()[1] == "total = Σ_{j<4, 2≤k<7} (A[j, k] + 1)   (float32)"
    at, value = te.compute((8,), lambda i: te.argmax(A[i, k], axis=k), name="M")
    assert te.mathematics([at, value]).splitlines()[1] == (
        "(M.v0[i], M.v1[i]) = argmax_{2≤k<7} (k - 2, A[i, k])   (int64 and float32, 8)"
    )
    assert r"\operatorname*{argmax}_{2 \le k < 7}" in te.mathematics(at, latex=True)
    _, at, _ = argmax(3, 4)
    own = te.comm_reducer(lambda x, y: te.maximum(x, y + 0), te.min_value, name="largest_of")
    C = te.compute((8,), lambda i: own(A[i, j], axis=j), name="C")
    assert te.mathematics(C).splitlines()[1:] == [
        "C[i] = largest_of_{j<4} A[i, j]   (float32, 8)",
        "where largest_of combines x, y ↦ max(x, y + 0), from -∞",
    ]
    assert r"\mathrm{largest\_of} &\text{ combines } x, y \mapsto" in te.mathematics(C, latex=True)


def test_scans_externs_and_several_outputs() -> None:
    state = te.placeholder((8, 8), name="state")
    step = te.compute((8, 8), lambda t, i: state[t - 1, i] + A[t, i], name="step")
    S = te.scan(te.compute((1, 8), lambda t, i: A[t, i], name="first"), step, state, name="S")
    lines = te.mathematics(S).splitlines()
    assert lines[2] == "step[t, i] = S[t - 1, i] + A[t, i]   (float32, 8×8)"
    assert lines[3] == "S[t, i] = { first[t, i] if t < 1; step[t, i] otherwise }   (float32, 8×8)"

    def sort(a: Any, out: Any) -> None:
        out[...] = a

    assert te.mathematics(te.extern((8, 8), A, sort, name="E")).splitlines()[1] == "E = sort(A)   (float32, 8×8)"
    low, _ = te.compute((8,), lambda i: (A[i, 0], I[i]), name="P")
    assert te.mathematics(low).splitlines()[-2:] == [
        "P.v0[i] = A[i, 0]   (float32, 8)",
        "P.v1[i] = index[i]   (int32, 8)",
    ]


def test_it_prints(capsys: pytest.CaptureFixture[str]) -> None:
    *_, C = matmul(2, 3, 4)
    te.show(C)
    assert capsys.readouterr().out == te.mathematics(C) + "\n"
    assert te.mathematics(C.op) == te.mathematics([C])
    with pytest.raises(ExpressionError, match=r"te\.mathematics takes the tensors to compute"):
        te.mathematics(3)  # type: ignore[arg-type]


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(graphs())
def test_every_program_has_a_text(drawn: Graph) -> None:
    text, latex = te.mathematics(list(drawn.outputs)), te.mathematics(list(drawn.outputs), latex=True)
    for op in graph(drawn.outputs):
        assert re.search(rf"\b{op.name}\b", text)
    for left, right in ("{}", "()"):
        assert text.count(left) == text.count(right)
        assert latex.count(left) == latex.count(right)
    assert latex.count("\\left") - latex.count("\\leftarrow") == latex.count("\\right")
    assert Expr.__name__ not in text


def test_sizes_and_scalars() -> None:
    n, m, alpha = te.var("n"), te.var("m"), te.scalar("alpha")
    X, k = te.placeholder((n, m), name="X"), te.reduce_axis((0, m), name="k")
    C = te.compute((n,), lambda i: te.sum(alpha * X[i, k], axis=k), name="C")
    assert te.mathematics(C).splitlines() == [
        "alpha is given   (float32)",
        "X is given   (float32, n×m)",
        "C[i] = Σ_{k<m} alpha · X[i, k]   (float32, n)",
    ]
    assert r"C_{i} &= \sum_{k < m} \mathit{alpha} \cdot X_{i, k}" in te.mathematics(C, latex=True)
