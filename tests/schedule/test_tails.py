"""The five tails of a split: each computes the same, each refuses what it can't do, and each does what it is for."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flashsched import te
from flashsched.codegen.build import build
from flashsched.codegen.lower import lower
from flashsched.errors import ArgumentError, DependenceError, LayoutError, OutputError, ScheduleError, StructureError
from flashsched.schedule.ir import Alloc, For, If, LoopKind, Store, walk_stmt
from flashsched.schedule.primitives.tails import TAILS
from flashsched.schedule.schedule import Loop, Schedule
from flashsched.te.expr import Select
from flashsched.te.visit import walk
from flashsched.testing.checks import check_meaning, check_round_trip
from flashsched.testing.programs import blur, chain, matmul, pointwise, row_sum

TAIL = st.sampled_from(TAILS)
FACTOR = st.integers(1, 20)


def split(s: Schedule, stage: te.Tensor, loop: Loop | te.Axis | str, factor: int, tail: str) -> tuple[Loop, Loop]:
    """A split with *tail*, or with a guard where that is refused."""
    try:
        return s[stage].split(loop, factor, tail=tail)
    except ScheduleError:
        return s[stage].split(loop, factor)


# -- meaning


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    m=st.integers(0, 40), n=st.integers(0, 40), x=FACTOR, y=FACTOR, tails=st.tuples(TAIL, TAIL, TAIL),
    again=st.integers(1, 5), outer=st.booleans(), vector=st.booleans(), compiled=st.booleans(),
)  # fmt: skip
def test_two_axes_of_a_stage_that_the_program_owns(
    m: int, n: int, x: int, y: int, tails: tuple[str, str, str], again: int, outer: bool, vector: bool, compiled: bool
) -> None:
    _, P, C = chain(m, n)
    s = te.create_schedule(C)
    first = split(s, P, "i0", x, tails[0])
    second = split(s, P, "i1", y, tails[1])
    split(s, P, (first if m % 2 else second)[0 if outer else 1], again, tails[2])
    if vector:
        s[P].vectorize(s[P].loops[-1])
    check_meaning(s, compiled=compiled)
    check_round_trip(s)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    n=st.integers(0, 40), at=FACTOR, steps=st.lists(st.tuples(FACTOR, TAIL, st.booleans()), max_size=3), tail=TAIL,
    late=st.booleans(), reach=st.integers(0, 2), compiled=st.booleans(),
)  # fmt: skip
def test_under_compute_at_before_and_after(
    n: int, at: int, steps: list[tuple[int, str, bool]], tail: str, late: bool, reach: int, compiled: bool
) -> None:
    _, P, C = blur(n, reach)
    s = te.create_schedule(C)
    place, _ = split(s, C, "i", at, tail)

    def move() -> None:
        try:
            s[P].compute_at(s[C], place)
        except ScheduleError as error:
            assert "can't be repeated at the new place" in str(error)  # noqa: PT017

    if not late:
        move()
    loop: Loop | str = "i"
    for factor, own, outer in steps:
        loop = split(s, P, loop, factor, own)[0 if outer else 1]
    if late:
        move()
    check_meaning(s, compiled=compiled)
    check_round_trip(s)


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    m=st.integers(1, 13), n=st.integers(1, 19), k=st.integers(0, 11), factors=st.tuples(FACTOR, FACTOR, FACTOR),
    tails=st.tuples(TAIL, TAIL, TAIL), order=st.permutations(range(6)), compiled=st.booleans(),
)  # fmt: skip
def test_a_reduction_padded_on_any_loop(
    m: int, n: int, k: int, factors: tuple[int, int, int], tails: tuple[str, str, str], order: list[int], compiled: bool
) -> None:
    *_, P = matmul(m, n, k)
    C = te.compute((m, n), lambda i, j: P[i, j] + 1, name="D")
    s = te.create_schedule(C)
    loops = [
        loop
        for name, factor, tail in zip("ijk", factors, tails, strict=True)
        for loop in split(s, P, name, factor, tail)
    ]
    s[P].reorder(*[loops[number] for number in order])
    if loops[order[-1]].name in ("j.i", "i.i"):
        s[P].vectorize(loops[order[-1]])
    check_meaning(s, compiled=compiled)
    check_round_trip(s)


@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize(("m", "n", "k"), [(7, 13, 5), (1, 31, 1), (8, 16, 4), (3, 2, 0)])
def test_a_packed_matmul_whose_panels_are_padded(tail: str, m: int, n: int, k: int) -> None:
    _, B, C = matmul(m, n, k)
    s = te.create_schedule(C)
    sums, panel = s.cache_write(C, "local"), s.cache_read(B, "global")
    _, jo, _, ji = s[C].tile("i", "j", min(4, m), min(8, n), tail=tail if tail != "pad" else "cut")
    s[C].vectorize(ji)
    s[sums].compute_at(s[C], jo)
    s[sums].reorder("k", "i", "j")
    inner = split(s, sums, "j", 8, tail)[1]
    split(s, sums, "k", 4, "pad")
    s[sums].vectorize(inner)
    s[panel].transform_layout(lambda p, q: (q // 8, p, q % 8))
    _, inner = split(s, panel, "i1", 8, tail)
    s[panel].vectorize(inner)
    check_meaning(s, compiled=True)
    check_round_trip(s)


@pytest.mark.parametrize("reducer", [te.sum, te.max, te.min, te.prod])
@pytest.mark.parametrize("n", [1, 5, 7, 8, 13])
def test_padding_adds_nothing_whatever_is_reduced(reducer: te.comm_reducer, n: int) -> None:
    A, k = te.placeholder((3, n), "int32", name="A"), te.reduce_axis((0, n), name="k")
    P = te.compute((3,), lambda i: reducer(A[i, k] - 5, axis=k), name="P")
    C = te.compute((3,), lambda i: P[i] * 2, name="C")
    s = te.create_schedule(C)
    s[P].split("k", 4, tail="pad")
    s[P].split("i", 2, tail="pad")
    s[P].reorder("k.o", "i.o", "k.i", "i.i")
    s[P].vectorize("i.i")
    check_meaning(s, compiled=True)


def test_a_copy_of_padded_memory_has_the_size_of_the_tensor() -> None:
    _, P, C = chain(10)
    s = te.create_schedule(C)
    s[P].split("i", 4, tail="pad")
    copy = s.cache_read(P, "global")
    assert copy.shape == (10,)
    check_meaning(s, compiled=True)


def test_padding_is_made_anew_where_a_stage_moves() -> None:
    _, P, C = chain(10)
    s = te.create_schedule(C)
    s[P].split("i", 4, tail="pad")
    assert s.state.stages["P"].buffers[0].shape == (12,)
    outer, _ = s[C].split("i", 5)
    s[P].compute_at(s[C], outer)
    assert s.state.stages["P"].buffers[0].shape == (13,)
    check_meaning(s, compiled=True)
    s[P].compute_root()
    assert s.state.stages["P"].buffers[0].shape == (12,)
    check_meaning(s, compiled=True)


# -- shape, and what each is for


def test_guard_and_mask_keep_the_condition_and_cut_tests_once_a_tile() -> None:
    conditions: dict[str, list[int]] = {}
    for tail in ("guard", "mask", "cut"):
        _, C = pointwise(100)
        s = te.create_schedule(C)
        _, inner = s[C].split("i", 16, tail=tail)
        s[C].vectorize(inner)
        vectors = [n for n in walk_stmt(lower(s).body) if isinstance(n, For) and n.kind is LoopKind.VECTORIZE]
        conditions[tail] = [sum(isinstance(node, If) for node in walk_stmt(loop)) for loop in vectors]
    assert conditions == {"guard": [1], "mask": [1], "cut": [0, 1]}


def test_a_mask_stays_one_inside_a_loop_whose_tail_is_cut() -> None:
    counts = {}
    for tail in ("guard", "mask"):
        _, C = pointwise(103)
        s = te.create_schedule(C)
        _, inner = s[C].split("i", 20, tail="cut")
        _, lanes = s[C].split(inner, 8, tail=tail)
        s[C].vectorize(lanes)
        check_meaning(s, compiled=True)
        vectors = [n for n in walk_stmt(lower(s).body) if isinstance(n, For) and n.kind is LoopKind.VECTORIZE]
        counts[tail] = len(vectors)
        assert all(isinstance(loop.body, If) for loop in vectors) is (tail == "mask")
    assert counts["mask"] == 1 < counts["guard"]


def test_pad_computes_the_tail_into_memory_of_its_own() -> None:
    _, P, C = chain(10)
    s = te.create_schedule(C)
    _, inner = s[P].split("i", 4, tail="pad")
    assert str(s).split("\n")[:5] == [
        "for i.o in range(3):",
        "  for i.i in range(4):",
        "    P(i=i.o * 4 + i.i):",
        "      padding unless i.o * 4 + i.i < 10",
        "      P[i] = A[i] + 1.0",
    ]
    s[P].vectorize(inner)
    lowered = lower(s)
    assert str(lowered).split("\n")[1:5] == [
        "  P = alloc(float32[12], 'global')",
        "  for i.o in range(3):",
        "    for i.i in range(4):  # vectorize",
        "      P[i.o * 4 + i.i] = select(i.o * 4 + i.i < 10, A[i.o * 4 + i.i] + 1.0, 0.0)",
    ]
    assert not any(isinstance(node, If) for node in walk_stmt(lowered.body))


def test_the_tail_of_a_padded_reduction_is_a_choice_and_no_branch() -> None:
    _, C = row_sum(6, 0, 10)
    s = te.create_schedule(C)
    s[C].split("k", 4, tail="pad")
    stores = [node for node in walk_stmt(lower(s).body) if isinstance(node, Store)]
    (update,) = [store for store in stores if any(isinstance(part, Select) for part in walk(store.value))]
    assert str(update.value) == "select(k.o * 4 + k.i < 10, C[i] + A[i, k.o * 4 + k.i], C[i])"
    check_meaning(s, compiled=True)


def test_shift_moves_the_last_tile_inwards_and_needs_no_condition() -> None:
    A, C = pointwise(10)
    s = te.create_schedule(C)
    _, inner = s[C].split("i", 4, tail="shift")
    s[C].vectorize(inner)
    assert str(s).split("\n")[:3] == [
        "for i.o in range(3):",
        "  for i.i in range(4):  # vectorize",
        "    C(i=min(i.o * 4, 6) + i.i):",
    ]
    assert "llvm.masked" not in build(s, [A, C]).llvm_ir()
    check_meaning(s, compiled=True)


@pytest.mark.parametrize("tail", TAILS)
def test_a_split_that_divides_is_the_same_for_all(tail: str) -> None:
    _, C = pointwise(8)
    s = te.create_schedule(C)
    s[C].split("i", 4, tail=tail)
    assert str(s).split("\n")[2] == "    C(i=i.o * 4 + i.i):"
    assert "tail" not in str(s)


def test_padding_in_parallel_is_no_race() -> None:
    _, P, C = chain(22)
    s = te.create_schedule(C)
    outer, inner = s[P].split("i", 4, tail="pad")
    s[P].parallel(outer)
    s[P].vectorize(inner)
    check_meaning(s, compiled=True)
    assert [n.buffer.shape for n in walk_stmt(lower(s).body) if isinstance(n, Alloc)] == [(24,)]


def test_the_tail_of_a_loop_over_nothing_stays_a_guard() -> None:
    _, P, C = chain(1, 3)
    s = te.create_schedule(C)
    outer, _ = s[P].split("i0", 4)
    s[P].split(outer, 3, tail="pad")  # one turn: no index speaks of it any more
    check_meaning(s, compiled=True)


# -- refusals


def test_an_output_is_not_padded() -> None:
    _, C = pointwise(10)
    s = te.create_schedule(C)
    with pytest.raises(OutputError, match=r"(?s)'C' is an output of the caller's size.*hint: compute into a copy"):
        s[C].split("i", 4, tail="pad")
    *_, D = matmul(4, 4, 10)
    s = te.create_schedule(D)
    s[D].split("k", 4, tail="pad")  # the loop over the reduction makes nothing larger


def test_a_part_of_an_axis_is_not_padded() -> None:
    _, P, C = chain(20)
    s = te.create_schedule(C)
    outer, inner = s[P].split("i", 10)
    with pytest.raises(StructureError, match=r"loop 'i\.i' is only a part of axis 'i'.*belongs to the next turn"):
        s[P].split(inner, 4, tail="pad")
    s[P].split(outer, 1)


def test_padding_must_fit_the_layout() -> None:
    _, P, C = chain(8)
    s = te.create_schedule(C)
    s[P].transform_layout(lambda i: (i // 4 % 2, i % 4))
    with pytest.raises(LayoutError, match="does not give each element of 'P' a place of its own"):
        s[P].split("i", 5, tail="pad")


def test_what_is_added_to_is_not_computed_twice() -> None:
    *_, C = matmul(10, 10, 10)
    s = te.create_schedule(C)
    for loop in "ijk":
        with pytest.raises(DependenceError, match=r"(?s)computes some points twice.*hint: use tail='cut'"):
            s[C].split(loop, 4, tail="shift")


def test_a_loop_is_shifted_only_by_what_it_has() -> None:
    _, C = pointwise(3)
    s = te.create_schedule(C)
    with pytest.raises(ArgumentError, match="loop 'i' has 3 turns, and a tile of 4 can't be shifted into them"):
        s[C].split("i", 4, tail="shift")


@pytest.mark.parametrize("how", ["parallel", "blockIdx.x", "threadIdx.y"])
@pytest.mark.parametrize("which", ["outer", "inner", "outer of outer", "fused", "inner of inner"])
def test_shifted_tiles_do_not_run_at_once(how: str, which: str) -> None:
    _, C = pointwise(10)
    s = te.create_schedule(C)
    outer, inner = s[C].split("i", 4, tail="shift")
    loop = {
        "outer": lambda: outer,
        "inner": lambda: inner,
        "outer of outer": lambda: s[C].split(outer, 2)[0],
        "fused": lambda: s[C].fuse(outer, inner),
        "inner of inner": lambda: s[C].split(inner, 2)[1],
    }[which]()
    with pytest.raises(DependenceError, match="has a shifted tail: its last tile writes elements that the one before"):
        s[C].parallel(loop) if how == "parallel" else s[C].bind(loop, how)


def test_nothing_is_shifted_after_it_was_made_parallel() -> None:
    _, C = pointwise(10)
    s = te.create_schedule(C)
    s[C].parallel("i")
    with pytest.raises(ScheduleError, match="is parallel, and only a serial loop can be split"):
        s[C].split("i", 4, tail="shift")


def test_the_lanes_of_a_vector_are_those_of_one_tile() -> None:
    _, C = pointwise(10)
    s = te.create_schedule(C)
    outer, inner = s[C].split("i", 4, tail="shift")
    s[C].reorder(inner, outer)
    with pytest.raises(DependenceError, match=r"(?s)has a shifted tail.*vectorize.* is a race"):
        s[C].vectorize(outer)


def test_another_loop_of_a_shifted_stage_runs_in_parallel() -> None:
    _, C = pointwise(5, 10)
    s = te.create_schedule(C)
    s[C].split("i1", 4, tail="shift")
    s[C].reorder("i1.o", "i0", "i1.i")
    s[C].parallel("i0")
    s[C].vectorize("i1.i")
    check_meaning(s, compiled=True)
    check_round_trip(s)


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("tail", TAILS)
def test_the_parts_of_a_reduction_whose_tail_is_not_full(tail: str, which: int) -> None:
    _, C = row_sum(5, 0, 10)
    s = te.create_schedule(C)
    loops = split(s, C, "k", 4, tail)
    split(s, C, "i", 3, tail)
    parts = s.rfactor(C, loops[which])
    s[parts].split(s[parts].op.axis[-1], 3, tail="pad" if s[parts].op.axis[-1].extent % 3 else "guard")
    check_meaning(s, compiled=True)
