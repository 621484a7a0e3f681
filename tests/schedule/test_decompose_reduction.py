"""decompose_reduction: setting a reduction's elements to the identity is a stage of its own."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashsched import te
from flashsched.errors import DependenceError, ScheduleError, StructureError
from flashsched.testing.checks import check_meaning, check_round_trip
from flashsched.testing.programs import argmax, largest, matmul, pointwise, row_sum

TAIL = st.sampled_from(["guard", "cut", "mask"])


@settings(max_examples=40, deadline=None)
@given(
    data=st.data(), m=st.integers(0, 5), n=st.integers(0, 9), k=st.integers(0, 4), x=st.integers(1, 3),
    y=st.integers(1, 4), tail=TAIL,
)  # fmt: skip
def test_an_init_before_any_loop_outside_the_reduction(
    data: st.DataObject, m: int, n: int, k: int, x: int, y: int, tail: str
) -> None:
    *_, C = matmul(m, n, k)
    s = te.create_schedule(C)
    io, jo, ii, ji = s[C].tile(*C.op.axis, x, y, tail=tail)
    order = data.draw(st.sampled_from([(io, jo, ii, ji, "k"), (io, jo, "k", ii, ji), (io, "k", jo, ii, ji)]))
    s[C].reorder(*order)
    loop = order[data.draw(st.integers(0, order.index("k")))]
    init = s[C].decompose_reduction(loop)
    i, j = s[init].op.axis
    s[init].split(i, 2, tail=tail)
    s[init].vectorize(j)
    if data.draw(st.booleans()):
        s[C].split(jo, 2)
    check_meaning(s, compiled=True)
    check_round_trip(s)


@settings(max_examples=20, deadline=None)
@given(n=st.integers(0, 5), k=st.integers(0, 6), program=st.sampled_from([argmax, largest]), at=st.integers(0, 1))
def test_a_tuple_reducer_is_begun_together(n: int, k: int, program: object, at: int) -> None:
    _, first, second = program(n, max(k, 1))  # type: ignore[operator]
    s = te.create_schedule([first, second])
    inits = s[first].decompose_reduction(s[first].loops[at])
    assert [init.name for init in inits] == ["M.init.v0", "M.init.v1"]
    s[inits[1]].unroll(s[inits[0]].op.axis[0])
    check_meaning(s, compiled=True)
    check_round_trip(s)


@pytest.mark.parametrize("loop", ["i", "j", "k"])
def test_the_init_goes_where_its_stage_goes(loop: str) -> None:
    *_, P = matmul(4, 6, 5)
    C = te.compute((4, 6), lambda i, j: P[i, j] + 1, name="R")
    s = te.create_schedule(C)
    init = s[P].decompose_reduction(loop)
    s[init].split(s[init].op.axis[1], 4)
    io, _ = s[C].split("i", 3)
    alone = str(s)
    s[P].compute_at(s[C], io)
    s[P].set_scope("local")
    check_meaning(s, compiled=True)
    check_round_trip(s)
    s[P].transform_layout(lambda i, j: (j, i))
    check_meaning(s, compiled=True)
    s[P].compute_root()
    assert str(s) == alone
    check_meaning(s)


def test_where_it_stands() -> None:
    *_, C = matmul(4, 6, 5)
    s = te.create_schedule(C)
    io, ii = s[C].split("i", 2)
    s[C].reorder(io, "k", ii, "j")
    s[C].decompose_reduction("k")
    assert str(s) == (
        "for i.o in range(2):\n"
        "  for i in range(2):\n"
        "    for j in range(6):\n"
        "      C.init(i=i.o * 2 + i, j=j):\n"
        "        C[i, j] = 0.0\n"
        "  for k in range(5):\n"
        "    for i.i in range(2):\n"
        "      for j in range(6):\n"
        "        C(i=i.o * 2 + i.i, j=j, k=k):  # reduces k\n"
        "          C[i, j] = C[i, j] + A[i, k] * B[k, j]"
    )


def test_decomposed_it_can_still_be_copied_and_read() -> None:
    *_, P = matmul(4, 6, 5)
    C = te.compute((4, 6), lambda i, j: P[i, j] + 1, name="R")
    s = te.create_schedule(C)
    s[P].decompose_reduction("i")
    copy = s.cache_read(P, "local")
    s[copy].compute_at(s[C], "i")
    s.cache_read(P.op.inputs[0], "local", [P])
    check_meaning(s, compiled=True)
    check_round_trip(s)


def test_decompose_reduction_refuses() -> None:
    _, P = pointwise(4)
    with pytest.raises(StructureError, match=r"(?s)'C' is no reduction.*after cache_write, that is the new one"):
        te.create_schedule(P)["C"].decompose_reduction("i")
    *_, C = matmul(4, 6, 5)
    s = te.create_schedule(C)
    with pytest.raises(ScheduleError, match="no loop named 'q'"):
        s[C].decompose_reduction("q")
    s[C].reorder("k", "i", "j")
    with pytest.raises(DependenceError, match=r"(?s)loop 'k' outside 'j' runs over the reduction.*decompose at 'k'"):
        s[C].decompose_reduction("j")
    s[C].reorder("i", "k", "j")
    init = s[C].decompose_reduction("k")
    before = str(s)
    with pytest.raises(DependenceError, match=r"(?s)loop 'k' runs over the reduction of 'C', and 'C.init' at loop 'i'"):
        s[C].reorder("k", "i")
    for step in ("decompose_reduction", "rfactor"):
        with pytest.raises(StructureError, match=f"'C' was decomposed, and {step} needs it whole"):
            s[C].decompose_reduction("k") if step == "decompose_reduction" else s.rfactor(C, "k")
    with pytest.raises(StructureError, match="'C' was decomposed, and cache_write needs it whole"):
        s.cache_write(C, "local")
    for move in (s[init].compute_root, s[init].compute_inline, lambda: s[init].compute_at(s[C], "k")):
        with pytest.raises(StructureError, match=r"(?s)'C.init' is the init of 'C'.*move 'C', and its init goes along"):
            move()
    assert str(s) == before


def test_parts_that_overlap_are_not_reset() -> None:
    """A region through a fused loop wraps rows, and an init over it would undo what other turns combined."""
    *_, C = matmul(4, 6, 5)
    s = te.create_schedule(C)
    outer, inner = s[C].split(s[C].fuse("i", "j"), 4)
    with pytest.raises(DependenceError, match=r"(?s)the parts of 'C'.*can't be told apart.*choose a loop further out"):
        s[C].decompose_reduction(inner)
    s[C].decompose_reduction(outer)
    check_meaning(s, compiled=True)
    t = te.create_schedule(C)
    fused = t[C].fuse("i", "j")
    t[C].decompose_reduction("k")  # one element a turn: told apart by quotient and remainder
    assert t[C].loops[0] == fused
    check_meaning(t, compiled=True)


def test_shared_memory_is_begun_with_its_reduction() -> None:
    _, P = row_sum(4, 0, 6)
    C = te.compute((4,), lambda i: P[i] + 1, name="R")
    s = te.create_schedule(C)
    s[P].set_scope("shared")
    with pytest.raises(StructureError, match=r"memory that GPU threads share"):
        s[P].decompose_reduction("i")
    s[P].set_scope("global")
    s[P].decompose_reduction("i")
    with pytest.raises(
        StructureError, match=r"the reduction of 'C' was decomposed, and set_scope\('shared'\) needs it whole"
    ):
        s[P].set_scope("shared")


def test_padding_is_begun_with_its_reduction() -> None:
    *_, P = matmul(5, 6, 7)
    C = te.compute((5, 6), lambda i, j: P[i, j] + 1, name="R")
    s = te.create_schedule(C)
    s[P].split("i", 4, tail="pad")
    with pytest.raises(StructureError, match="pads what it writes, and the padding is set to the identity with"):
        s[P].decompose_reduction("k")
    t = te.create_schedule(C)
    init = t[P].decompose_reduction("i")
    for stage, loop in ((P, "i"), (init, t[init].loops[-1])):
        with pytest.raises(StructureError, match=r"the init of 'C'|of 'C' was decomposed"):
            t[stage].split(loop, 4, tail="pad")
    t[P].split("k", 4, tail="pad")
    check_meaning(t, compiled=True)
    check_round_trip(t)
