"""rfactor: a reduction is cut in two stages, and what becomes of them."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashsched import te
from flashsched.codegen.build import build
from flashsched.codegen.lower import lower
from flashsched.errors import ArgumentError, ScheduleError, StructureError, UnknownNameError
from flashsched.schedule.schedule import Schedule
from flashsched.te.tensor import Tensor
from flashsched.testing.checks import check_meaning, check_round_trip
from flashsched.testing.programs import argmax, chain, largest, matmul, pointwise, row_sum

TAIL = st.sampled_from(["guard", "cut", "mask", "pad"])


@settings(max_examples=40, deadline=None)
@given(
    m=st.integers(0, 5), k=st.integers(0, 17), factor=st.integers(1, 6), tail=TAIL, which=st.integers(0, 1),
    place=st.integers(-2, 1), again=st.integers(0, 3), at=st.integers(-1, 1),
)  # fmt: skip
def test_a_sum_in_parts(m: int, k: int, factor: int, tail: str, which: int, place: int, again: int, at: int) -> None:
    _, C = row_sum(m, 0, k)
    s = te.create_schedule(C)
    loop = s[C].split("k", factor, tail=tail)[which]
    if again:  # a second ragged split: some parts may have no points at all
        loop = s[C].split(loop, again)[which]
    part = s.rfactor(C, loop, factor_axis=place)
    assert s[C].op.reduce_axis[0].name == loop.name
    if at >= 0:
        s[part].compute_at(s[C], s[C].loops[at])
    check_meaning(s, compiled=True)
    check_round_trip(s)


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(0, 4), k=st.integers(1, 11), factor=st.integers(1, 5), program=st.sampled_from([argmax, largest]),
    which=st.integers(0, 1), at=st.integers(-1, 1),
)  # fmt: skip
def test_a_tuple_reducer_in_parts(n: int, k: int, factor: int, program: object, which: int, at: int) -> None:
    _, first, second = program(n, k)  # type: ignore[operator]
    s = te.create_schedule([first, second])
    parts = s.rfactor(first, s[first].split("k", factor)[which])
    assert [part.name for part in parts] == ["M.rf.v0", "M.rf.v1"]
    if at >= 0:
        s[parts[0]].compute_at(s[first], s[first].loops[at])
    check_meaning(s, compiled=True)
    check_round_trip(s)


@settings(max_examples=25, deadline=None)
@given(data=st.data(), n=st.integers(1, 4), a=st.integers(0, 4), b=st.integers(0, 4), begin=st.integers(0, 2))
def test_several_reduce_axes_fused_split_and_in_any_order(
    data: st.DataObject, n: int, a: int, b: int, begin: int
) -> None:
    A = te.placeholder((n, a + begin, b), "int32", name="A")
    x, y = te.reduce_axis((begin, a + begin), name="x"), te.reduce_axis((0, b), name="y")
    C = te.compute((n,), lambda i: te.sum(A[i, x, y], axis=[x, y]), name="C")
    s = te.create_schedule(C)
    if data.draw(st.booleans()):
        s[C].reorder("y", "i", "x")
    elif data.draw(st.booleans()):
        s[C].split(s[C].fuse("x", "y"), 3)
    s[C].split("i", 2)
    loop = data.draw(st.sampled_from([loop for loop in s[C].loops if not loop.name.startswith("i")]))
    before = [other for other in s[C].loops if other == loop or other.name.startswith("i")]
    s.rfactor(C, loop, factor_axis=data.draw(st.integers(0, 1)))
    assert list(s[C].loops) == before or set(s[C].loops) == set(before)
    check_meaning(s, compiled=True)
    check_round_trip(s)


def test_every_point_alone() -> None:
    *_, C = matmul(3, 4, 5)
    s = te.create_schedule(C)
    part = s.rfactor(C, C.op.reduce_axis[0], factor_axis=2)
    assert str(s).split("\n")[:5] == [
        "for i in range(3):",
        "  for j in range(4):",
        "    for k in range(5):",
        "      C.rf(i=i, j=j, k=k):",
        "        C.rf[i, j, k] = A[i, k] * B[k, j]",
    ]
    s[part].vectorize(s[part].op.axis[2])
    s[C].reorder(s[C].op.reduce_axis[0], *s[C].op.axis)
    check_meaning(s, compiled=True)
    check_round_trip(s)


def test_the_parts_of_a_sum_run_at_once() -> None:
    """What the refusal of ``parallel`` and ``vectorize`` over a reduction tells one to do."""
    _, C = row_sum(1, 0, 1000)
    s = te.create_schedule(C)
    with pytest.raises(ScheduleError, match="rfactor"):
        s[C].parallel("k")
    outer, _ = s[C].split("k", nparts=4)
    part = s.rfactor(C, outer)
    lanes = s[part].split(s[part].op.reduce_axis[0], 16)[1]
    lane = s.rfactor(part, lanes, factor_axis=2)
    s[lane].parallel(s[lane].op.axis[0])
    s[lane].reorder(*s[lane].op.axis[:2], *s[lane].op.reduce_axis, s[lane].op.axis[2])
    s[lane].vectorize(s[lane].op.axis[2])
    check_meaning(s, compiled=True)
    check_round_trip(s)


def test_a_classic_program() -> None:
    A = te.placeholder((6, 40), name="A")
    k = te.reduce_axis((0, 40), name="k")
    B = te.compute((6,), lambda i: te.sum(A[i, k], axis=k), name="B")
    s = te.create_schedule(B)
    ko, ki = s[B].split(B.op.reduce_axis[0], factor=16)
    BF = s.rfactor(B, ki)
    xo, xi = s[B].split(s[B].op.axis[0], factor=2)
    s[B].bind(xo, "blockIdx.x")
    s[B].bind(xi, "threadIdx.y")
    s[BF].compute_at(s[B], s[B].op.reduce_axis[0])
    assert [axis.name for axis in s[BF].op.axis] == ["k.i", "i"]
    assert [axis.name for axis in s[BF].op.reduce_axis] == [ko.name]
    check_meaning(s)
    check_round_trip(s)


def test_steps_on_the_output_are_kept_and_those_on_the_parts_go_along() -> None:
    *_, C = matmul(6, 8, 20)
    s = te.create_schedule(C)
    s[C].reorder("k", "i", "j")
    ko, ki = s[C].split("k", 8)
    kio, kii = s[C].split(ki, 2)
    io, ii = s[C].split("i", 4)
    s[C].reorder(io, ko, kio, kii, ii)
    s[C].unroll(kii)
    s[C].unroll(ko)
    s[C].vectorize("j")
    part = s.rfactor(C, ko)
    assert str(s) == (
        "for k.o in range(3):\n"
        "  for i in range(6):\n"
        "    for j in range(8):\n"
        "      for k.i.o in range(4):\n"
        "        for k.i.i in range(2):  # unroll\n"
        "          C.rf(k.o=k.o, i=i, j=j, k.i.o=k.i.o, k.i.i=k.i.i):  # reduces k.i.o, k.i.i\n"
        "            init C.rf[k.o, i, j] = 0.0\n"
        "            C.rf[k.o, i, j] = select(k.o * 8 + k.i.o * 2 + k.i.i < 20, C.rf[k.o, i, j] + "
        "A[i, k.o * 8 + k.i.o * 2 + k.i.i] * B[k.o * 8 + k.i.o * 2 + k.i.i, j], C.rf[k.o, i, j])\n"
        "for i.o in range(2):\n"
        "  for k.o in range(3):  # unroll\n"
        "    for i.i in range(4):\n"
        "      for j in range(8):  # vectorize\n"
        "        C(i=i.o * 4 + i.i, j=j, k.o=k.o):  # reduces k.o\n"
        "          where i.o * 4 + i.i < 6\n"
        "          init C[i, j] = 0.0\n"
        "          C[i, j] = C[i, j] + C.rf[k.o, i, j]"
    )
    s[part].compute_at(s[C], ko)
    check_meaning(s, compiled=True)
    check_round_trip(s)


@pytest.mark.parametrize("tail", ["guard", "cut", "mask"])
@pytest.mark.parametrize("which", [0, 1])
def test_the_parts_keep_the_tail_of_the_split(tail: str, which: int) -> None:
    """Where it is cut, full tiles do not compare: not in lanes that are the parts, nor in parts that lanes combine."""
    args = row_sum(3, 0, 333)
    s = te.create_schedule(args[-1])
    loops = s["C"].split("k", 16, tail=tail)
    part = s.rfactor("C", loops[which], -1)
    s[part].compute_at(s["C"], "i")  # the nest is made anew, and its loops with it
    assert str(s).count(f"tail={tail}") == (tail != "guard")
    s[part].reorder("k.o", "i", "k.i")
    full, *rest = str(lower(s, args)).split("else:")
    assert len(rest) == (tail == "cut")
    assert ("if k.o * 16 < 318:" in full) == (tail == "cut")
    assert full.count("< 333") == (tail != "cut")
    check_meaning(s, compiled=True)
    check_round_trip(s)


def test_a_reduction_that_is_computed_at_a_loop_takes_its_parts_along() -> None:
    *_, P = matmul(4, 6, 9)
    C = te.compute((4, 6), lambda i, j: P[i, j] + 1, name="R")
    s = te.create_schedule(C)
    at = s[C].split("i", 2)[0]
    s[P].compute_at(s[C], at)
    copy = s.cache_read(P.op.inputs[0], "local", [P])
    s[copy].compute_at(s[C], at)
    part = s.rfactor(P, s[P].split("k", 4)[0])
    check_meaning(s, compiled=True)
    check_round_trip(s)
    for stage in (copy, part, P):
        s[stage].compute_root()
    check_meaning(s)


def blocked(m: int, n: int, k: int, depth: int, rows: int, columns: int) -> tuple[Schedule, list[Tensor]]:
    """A product blocked over k, each block summed up in a tile of accumulators."""
    A, B, C = matmul(m, n, k)
    s = te.create_schedule(C)
    ko, _ = s[C].split(C.op.reduce_axis[0], depth)
    tile = s.rfactor(C, ko)
    io, jo, ii, ji = s[C].tile(*C.op.axis, rows, columns, tail="cut")
    s[C].reorder(*s[C].op.reduce_axis, io, jo, ii, ji)
    s[C].unroll(ii)
    s[C].vectorize(ji)
    s[tile].compute_at(s[C], jo)
    s[tile].set_scope("local")
    _, i, j = s[tile].op.axis
    s[tile].reorder(*s[tile].op.reduce_axis, i, j)
    s[tile].unroll(i)
    s[tile].vectorize(j)
    return s, [A, B, C]


@settings(max_examples=12, deadline=None)
@given(m=st.integers(0, 9), n=st.integers(0, 19), k=st.integers(0, 17), depth=st.integers(1, 6))
def test_a_tile_of_accumulators_inside_a_blocked_reduction(m: int, n: int, k: int, depth: int) -> None:
    s, _ = blocked(m, n, k, depth, 3, 8)
    check_meaning(s, compiled=True)
    check_round_trip(s)


def test_the_tile_is_as_large_as_the_tile_and_a_ragged_block_has_no_masks() -> None:
    s, args = blocked(6, 16, 19, 8, 3, 8)
    text = str(lower(s, args))
    assert "C.rf = alloc(float32[1, 3, 8], 'local')" in text
    inner = text[text.index("for k.i in range(8):") :].split("\n")
    assert inner[1].strip() == "if k.o * 8 + k.i < 19:"
    assert inner[2].strip() == "for j in range(8):  # vectorize"
    assert (
        inner[3].strip() == "C.rf[0, 0, j] = C.rf[0, 0, j] + A[i.o * 3, k.o * 8 + k.i] * B[k.o * 8 + k.i, j.o * 8 + j]"
    )


@pytest.mark.parametrize("k", [64, 61])
def test_the_accumulators_stay_in_registers(k: int) -> None:
    s, args = blocked(12, 64, k, 16, 4, 16)
    kernel = build(s, args)
    code = kernel.asm()
    assert not re.search(r"\(%rsp\).*[xyz]mm|[xyz]mm\d+, .*\(%rsp\)", code)
    rng = np.random.default_rng(0)
    a, b = (rng.random(t.shape, dtype=np.float32) for t in args[:2])
    np.testing.assert_allclose(kernel(a, b), a @ b, rtol=1e-5)


def test_rfactor_refuses() -> None:
    _, P = pointwise(4)
    with pytest.raises(StructureError, match="loop 'i' does not run over a reduction"):
        te.create_schedule(P).rfactor(P, "i")
    *_, C = matmul(3, 4, 5)
    s = te.create_schedule(C)
    with pytest.raises(
        StructureError, match=r"(?s)rfactor\('i'\).*loop 'i' does not run over a reduction.*reduce_axis"
    ):
        s.rfactor(C, "i")
    with pytest.raises(ScheduleError, match="no loop named 'q'"):
        s.rfactor(C, "q")
    with pytest.raises(ArgumentError, match="factor_axis 3 is no place among the 3 dimensions"):
        s.rfactor(C, "k", factor_axis=3)
    k = C.op.reduce_axis[0]
    outer, inner = s[C].split(k, 2)
    s.rfactor(C, outer)
    for handle in (k, inner):
        with pytest.raises(ScheduleError, match=r"'k.i' of stage 'C' is no more|axis 'k' is not one of stage 'C'"):
            s[C].split(handle, 2)
    _, Q, R = chain(3, 4)
    y = te.reduce_axis((0, 4), name="y")
    D = te.compute((3,), lambda i: te.sum(R[i, y], axis=y), name="D")
    t = te.create_schedule(D)
    t[R].compute_at(t[D], "i")
    with pytest.raises(
        StructureError, match=r"(?s)stage 'C' is computed at a loop of 'D'.*call rfactor before C.compute_at"
    ):
        t.rfactor(D, "y")
    t[R].compute_root()
    t.rfactor(D, "y")
    t[Q].compute_at(t[R], "i0")
    check_meaning(t)


def test_loops_of_no_name_keep_their_names() -> None:
    a, k = te.placeholder((8,), name="A"), te.reduce_axis((0, 8), name="k")
    c = te.compute((), lambda: te.sum(a[k], axis=k), name="C")
    s = te.create_schedule(c)
    s[c].add_unit_loop(k)  # a loop over the reduction, which is not kept
    s[c].add_unit_loop()
    s.rfactor(c, k)
    assert str(s).endswith(
        """\
for k in range(8):
  for unit2 in range(1):
    C(k=k):  # reduces k
      init C[] = 0.0
      C[] = C[] + C.rf[k]"""
    )
    with pytest.raises(UnknownNameError, match=r"'unit' of stage 'C' is no more: rfactor took it"):
        s[c].unroll("unit")
    check_meaning(s, compiled=True)
    check_round_trip(s)
