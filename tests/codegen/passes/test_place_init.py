"""place_init: where a reduction begins."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from flashsched import te
from flashsched.codegen.passes.place_init import place_init
from flashsched.schedule.printer import nest_text
from flashsched.testing.checks import check_meaning
from flashsched.testing.programs import argmax, chain, matmul, pointwise


def lines(s: te.Tensor) -> list[str]:
    return nest_text(place_init(s.body)).split("\n")


def test_before_the_outermost_loop_that_drives_the_reduction() -> None:
    *_, C = matmul(2, 3, 4)
    s = te.create_schedule(C)
    s[C].reorder("i", "k", "j")
    s[C].vectorize("j")
    assert lines(s) == [
        "for i in range(2):",
        "  for j in range(3):  # vectorize",
        "    C.init(i=i, j=j):",
        "      C[i, j] = 0.0",
        "  for k in range(4):",
        "    for j in range(3):  # vectorize",
        "      C(i=i, j=j, k=k):  # reduces k",
        "        C[i, j] = C[i, j] + A[i, k] * B[k, j]",
    ]


def test_its_conditions_are_those_that_do_not_speak_of_the_reduction() -> None:
    *_, C = matmul(5, 3, 7)
    s = te.create_schedule(C)
    s[C].split("i", 2)
    s[C].split("k", 4)
    s[C].reorder("k.o", "i.o", "k.i", "i.i", "j")
    assert lines(s)[:5] == [
        "for i.o in range(3):",
        "  for i.i in range(2):",
        "    for j in range(3):",
        "      C.init(i=i.o * 2 + i.i, j=j):",
        "        where i.o * 2 + i.i < 5",
    ]
    check_meaning(s, compiled=True)


def test_all_outputs_of_a_reduction_begin_together() -> None:
    _, at, value = argmax(2, 3)
    s = te.create_schedule([at, value])
    assert lines(s)[1:4] == ["  M.init(i=i):", "    M.v0[i] = 2147483647", "    M.v1[i] = -2147483648"]


def test_what_is_no_reduction_is_left_alone() -> None:
    s = te.create_schedule(pointwise(4)[1])
    assert place_init(s.body) is s.body


def test_a_reduction_inside_another_stage() -> None:
    *_, P = matmul(4, 5, 3)
    C = te.compute((4, 5), lambda i, j: P[i, j] + 1, name="D")
    s = te.create_schedule(C)
    s[P].compute_at(s[C], s[C].split("i", 3)[0])
    s[P].reorder("k", "i")
    assert [line.strip() for line in lines(s)][:4] == [
        "for i.o in range(2):",
        "for j in range(5):",
        "for i in range(3):",
        "C.init(i=i.o * 3 + i, j=j):",
    ]
    check_meaning(s)


@settings(max_examples=40, deadline=None)
@given(
    order=st.permutations(["i.o", "i.i", "k.o", "k.i", "l"]), n=st.integers(0, 4), k=st.integers(0, 4),
    last=st.integers(0, 2), split=st.integers(1, 3),
)  # fmt: skip
def test_any_order_of_loops(order: list[str], n: int, k: int, last: int, split: int) -> None:
    A = te.placeholder((n, k, last), name="A")
    x, y = te.reduce_axis((0, k), name="k"), te.reduce_axis((0, last), name="l")
    C = te.compute((n,), lambda i: te.sum(A[i, x, y], axis=[x, y]), name="C")
    D = te.compute((n,), lambda i: C[i] + 1, name="D")
    s = te.create_schedule(D)
    s[C].split("i", split)
    s[C].split("k", split)
    s[C].reorder(*order)
    check_meaning(s)
    s[C].compute_at(s[D], "i")
    check_meaning(s)


def test_nothing_to_reduce_over() -> None:
    _, P, C = chain(3)
    k = te.reduce_axis((0, 0), name="k")
    S = te.compute((3,), lambda i: te.sum(P[k] + C[i], axis=k), name="S")
    s = te.create_schedule(S)
    s[S].reorder("k", "i")
    assert lines(s)[-6:-4] == ["  S.init(i=i):", "    S[i] = 0.0"]
    check_meaning(s, compiled=True)
