"""compute_at and compute_root: a stage is computed where it is needed, as much of it as is needed there."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashsched import te
from flashsched.codegen.lower import lower
from flashsched.errors import ScheduleError
from flashsched.schedule.schedule import Schedule
from flashsched.testing.checks import check_meaning, check_round_trip
from flashsched.testing.programs import blur, chain, diamond, matmul, pointwise

TAIL = st.sampled_from(["guard", "cut"])


@settings(max_examples=40, deadline=None)
@given(n=st.integers(0, 14), reach=st.integers(0, 3), factor=st.integers(1, 6), tail=TAIL, at=st.integers(0, 1))
def test_a_stencil_behind_selects_under_any_split(n: int, reach: int, factor: int, tail: str, at: int) -> None:
    _, P, C = blur(n, reach)
    s = te.create_schedule(C)
    s[P].compute_at(s[C], s[C].split("i", factor, tail=tail)[at])
    s[P].split("i", 2, tail=tail)
    check_meaning(s, compiled=n == 13)
    check_round_trip(s)


@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 12), factor=st.integers(1, 5), order=st.permutations(["L", "R", "P"]), both=st.booleans())
def test_two_readers_at_different_offsets_get_what_both_need(n: int, factor: int, order: list[str], both: bool) -> None:
    _, P, L, R, C = diamond(n)
    s = te.create_schedule(C)
    outer, inner = s[C].split("i", factor)
    if both:
        s[L].compute_at(s[C], inner)
    s[L].compute_at(s[C], outer)
    s[R].compute_at(s[C], inner if both else outer)
    s[P].compute_at(s[C], outer)
    for name in order:
        s[name].split("i", 2)
    check_meaning(s, compiled=n == 12)
    check_round_trip(s)


Steps = list[Callable[[Schedule, te.Tensor], object]]
OWN_STEPS: Steps = [
    lambda s, P: s[P].split(s[P].loops[-1], 3),
    lambda s, P: s[P].split(s[P].loops[0], nparts=2, tail="cut"),
    lambda s, P: s[P].reorder(*reversed(s[P].loops)),
    lambda s, P: s[P].fuse(*s[P].loops[:2]),
    lambda s, P: s[P].unroll(s[P].loops[0]),
    lambda s, P: s[P].vectorize(s[P].loops[-1]),
]


@settings(max_examples=40, deadline=None)
@given(data=st.data(), n=st.integers(1, 6), m=st.integers(1, 6), factor=st.integers(1, 4), tail=TAIL)
def test_moving_a_stage_first_or_last_gives_the_same_nest(
    data: st.DataObject, n: int, m: int, factor: int, tail: str
) -> None:
    _, P, C = chain(n, m)
    steps = data.draw(st.lists(st.sampled_from(range(len(OWN_STEPS))), max_size=4))
    place, number = data.draw(st.integers(0, len(steps))), data.draw(st.integers(0, 2))
    nests = []
    for position in (0, place, len(steps)):
        s = te.create_schedule(C)
        s[C].split("i1", factor, tail=tail)
        at = s[C].loops[number]
        try:
            for done, step in enumerate(steps):
                if done == position:
                    s[P].compute_at(s[C], at)
                OWN_STEPS[step](s, P)
            if position == len(steps):
                s[P].compute_at(s[C], at)
        except ScheduleError:
            return
        nests.append(str(s))
        check_meaning(s)
    assert nests[0] == nests[1] == nests[2]


@settings(max_examples=30, deadline=None)
@given(data=st.data(), n=st.integers(0, 7), length=st.integers(2, 4))
def test_chains_of_stages_each_at_a_loop_of_the_next_or_of_the_last(data: st.DataObject, n: int, length: int) -> None:
    A = te.placeholder((n + length,), name="A")
    stages = [A]
    for number in range(length):
        size, before = n + length - 1 - number, stages[-1]
        stages.append(te.compute((size,), lambda i, t=before: t[i] + t[i + 1], name=f"T{number}"))
    last = stages[-1]
    s = te.create_schedule(last)
    s[last].split("i", data.draw(st.integers(1, 4)), tail=data.draw(TAIL))
    for reader, stage in reversed(list(zip(stages[2:], stages[1:], strict=False))):
        target = reader if data.draw(st.booleans()) else last
        s[stage].split("i", data.draw(st.integers(1, 3)))
        at = data.draw(st.sampled_from(s[target].loops))
        with suppress(ScheduleError):  # where the reader is not inside that loop
            s[stage].compute_at(s[target], at)
    check_meaning(s)
    check_round_trip(s)
    for stage in stages[1:-1]:
        with suppress(ScheduleError):  # where it reads what is computed at a loop
            s[stage].compute_root()
    check_meaning(s)


@settings(max_examples=25, deadline=None)
@given(data=st.data(), m=st.integers(1, 7), n=st.integers(1, 7), k=st.integers(0, 5))
def test_a_reduction_at_a_tile_and_its_reader_scheduled_afterwards(data: st.DataObject, m: int, n: int, k: int) -> None:
    *_, P = matmul(m, n, k)
    C = te.compute((m, n), lambda i, j: te.maximum(P[i, j], 0.0), name="R")
    s = te.create_schedule(C)
    io, jo, ii, ji = s[C].tile(*s[C].op.axis, 3, 2, tail=data.draw(TAIL))
    s[P].compute_at(s[C], data.draw(st.sampled_from([io, jo, ii])))
    s[P].reorder("k", "i")
    for _ in range(data.draw(st.integers(0, 3))):
        loop = data.draw(st.sampled_from(s[C].loops))
        what = data.draw(st.sampled_from(["split", "unroll", "parallel", "fuse", "swap"]))
        try:
            if what == "split":
                s[C].split(loop, data.draw(st.integers(1, 3)), tail=data.draw(TAIL))
            elif what == "fuse":
                s[C].fuse(*s[C].loops[:2])
            elif what == "swap":
                s[C].reorder(ji, ii)
            else:
                getattr(s[C], what)(loop)
        except ScheduleError:
            pass
    check_meaning(s, compiled=True)
    check_round_trip(s)


def test_each_turn_computes_what_it_reads() -> None:
    _, P, C = blur(8)
    s = te.create_schedule(C)
    s[P].compute_at(s[C], s[C].split("i", 4)[0])
    assert str(s).split("\n")[:5] == [
        "for i.o in range(2):",
        "  for i in range(6):",
        "    P(i=i.o * 4 + i - 1):",
        "      where i.o * 4 + i >= 1 and i.o * 4 + i < 9",
        "      P[i] = A[i] + 1.0",
    ]
    assert "P = alloc(float32[6], 'global')" in str(lower(s))


def test_compute_root_takes_it_back() -> None:
    _, P, C = chain(4, 6)
    s = te.create_schedule(C)
    s[P].split("i1", 4)
    before = str(s)
    s[P].compute_root()
    assert str(s) == before
    s[P].compute_at(s[C], "i0")
    assert str(s) != before
    s[P].compute_root()
    assert str(s) == before
    check_round_trip(s)


def test_a_region_through_a_fused_loop_is_wide_enough_where_it_wraps_a_row() -> None:
    _, P, C = chain(4, 6)
    for factor in (2, 3, 4, 5, 6, 12):
        s = te.create_schedule(C)
        outer, _ = s[C].split(s[C].fuse("i0", "i1"), factor)
        s[P].compute_at(s[C], outer)
        check_meaning(s)


def test_compute_at_refuses() -> None:
    _, P, L, _R, C = diamond(6)
    s = te.create_schedule(C)
    with pytest.raises(ScheduleError, match=r"(?s)'C' is an output, and the caller sees.*cache_write\('C', 'local'\)"):
        s[C].compute_at(s[L], "i")
    with pytest.raises(ScheduleError, match="'P' can't be computed inside itself"):
        s[P].compute_at(s[P], "i")
    with pytest.raises(ScheduleError, match="nothing inside loop 'i' of 'C' reads 'P'"):
        s[P].compute_at(s[C], "i")
    with pytest.raises(ScheduleError, match=r"(?s)'R' reads 'P' outside loop 'i' of 'L'.*move 'R' inside"):
        s[P].compute_at(s[L], "i")
    with pytest.raises(ScheduleError, match="no loop named 'q'"):
        s[P].compute_at(s[L], "q")
    with pytest.raises(ScheduleError, match="no stage named 'Q'"):
        s[P].compute_at("Q", "i")
    with pytest.raises(ScheduleError, match="at must be a stage and one of its loops"):
        s.apply("compute_at", "P", {"at": ["L"]})
    s[C].vectorize("i")
    with pytest.raises(ScheduleError, match="loop 'i' is vectorized, and nothing can be computed inside a vector"):
        s[L].compute_at(s[C], "i")


def test_what_a_stage_reads_must_exist_where_it_moves() -> None:
    _A, P, C = chain(4, 4)
    D = te.compute((4, 4), lambda i, j: C[i, j] + 1, name="D")
    s = te.create_schedule(D)
    s[C].compute_at(s[D], "i")
    s[P].compute_at(s[D], "i")
    before = str(s)
    says = "'C' reads 'P', which is computed at loop 'i' of 'D' and does not exist outside"
    with pytest.raises(ScheduleError, match=f"(?s){says}.*move 'P' first"):
        s[C].compute_root()
    s[C].compute_at(s[D], "j")
    check_meaning(s)
    s[P].compute_at(s[D], "j")
    with pytest.raises(ScheduleError, match="does not exist outside"):
        s[C].compute_at(s[D], "i")
    s[P].compute_root()
    s[C].compute_at(s[D], "i")
    s[P].compute_at(s[D], "i")
    assert str(s) == before


def test_a_stage_does_not_move_into_what_is_computed_inside_it() -> None:
    _, P, L, _, C = diamond(6)
    s = te.create_schedule(C)
    s[L].compute_at(s[C], "i")
    s[P].set_scope("local")
    s.cache_read(P, "local", [L])
    with pytest.raises(ScheduleError, match="nothing inside loop 'i' of 'P' reads 'L'"):
        s[L].compute_at(s[P], "i")
    check_meaning(s)


def test_a_reorder_may_not_put_a_stage_inside_its_reader() -> None:
    _A, P, C = chain(2, 3)
    D = te.compute((2, 3), lambda i, j: C[i, j] + 1, name="D")
    s = te.create_schedule(D)
    s[C].compute_at(s[D], "j")
    s[P].compute_at(s[D], "i")
    before = str(s)
    with pytest.raises(ScheduleError, match="'C' reads 'P' outside loop 'i' of 'D'"):
        s[D].reorder("j", "i")
    assert str(s) == before


def test_a_step_that_does_not_fit_the_new_place_is_named() -> None:
    _, P, C = chain(4, 4)
    s = te.create_schedule(C)
    s[P].parallel("i0")
    s[C].parallel("i0")
    with pytest.raises(ScheduleError, match=r"compute_at.*the stage's own parallel\('i0'\) can't be repeated"):
        s[P].compute_at(s[C], "i1")


def test_dead_handles_are_told_apart() -> None:
    _, C = pointwise(8)
    s = te.create_schedule(C)
    (i,) = s[C].op.axis
    outer, inner = s[C].split(i, 4)
    s[C].fuse(outer, inner)
    for handle in (i, outer, inner):
        with pytest.raises(ScheduleError, match=r"is no more: \w+\(.*\) took it"):
            s[C].unroll(handle)
