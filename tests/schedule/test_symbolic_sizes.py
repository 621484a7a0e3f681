"""Each primitive on loops whose extents are sizes: what it makes of them, what it refuses, and that it replays."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashsched import te
from flashsched.codegen.interpreter import interpret
from flashsched.codegen.lower import lower, program_of
from flashsched.errors import ArgumentError, LayoutError, ScheduleError, ShapeError, StructureError
from flashsched.schedule.schedule import Schedule
from flashsched.te.evaluate import run_graph
from flashsched.testing.checks import check_round_trip


def matmul() -> tuple[Schedule, te.Tensor, te.Tensor]:
    n, m, k = te.var("n"), te.var("m"), te.var("k")
    A, B = te.placeholder((n, k), "int32", name="A"), te.placeholder((k, m), "int32", name="B")
    r = te.reduce_axis((0, k), name="r")
    C = te.compute((n, m), lambda i, j: te.sum(A[i, r] * B[r, j], axis=r), name="C")
    D = te.compute((n, m), lambda i, j: te.relu(C[i, j] - 1), name="D")
    return te.create_schedule(D), C, D


def stencil() -> tuple[Schedule, te.Tensor, te.Tensor]:
    n = te.var("n")
    A = te.placeholder((n,), "int32", name="A")
    P = te.compute((n + 2,), lambda i: te.select(te.all(i >= 1, i < n + 1), A[te.clip(i - 1, 0, n - 1)], 0), name="P")
    C = te.compute((n,), lambda i: P[i] + P[i + 1] + P[i + 2], name="C")
    return te.create_schedule(C), P, C


def check(schedule: Schedule, *shapes: tuple[int, ...]) -> None:
    """The nest, scheduled and lowered, computes what NumPy does on arrays of *shapes*."""
    rng = np.random.default_rng(0)
    feeds = {t: rng.integers(-3, 4, shape).astype("int32") for t, shape in zip(schedule.inputs, shapes, strict=True)}
    wanted = run_graph(schedule.outputs, feeds)
    for program in (program_of(schedule), lower(schedule)):
        for ours, reference in zip(interpret(program, list(feeds.values())), wanted, strict=True):
            np.testing.assert_array_equal(ours, reference, err_msg=str(schedule), strict=True)


def nest(schedule: Schedule) -> str:
    return str(schedule)


def test_split_guards_what_may_be_ragged() -> None:
    s, _, C = stencil()
    s[C].split("i", factor=4, tail="cut")
    assert nest(s).split("\n")[3:] == [
        "for i.o in range((n + 3) // 4):",
        "  for i.i in range(4):  # tail=cut",
        "    C(i=i.o * 4 + i.i):",
        "      where i.o * 4 + i.i < n",
        "      C[i] = P[i] + P[i + 1] + P[i + 2]",
    ]
    check_round_trip(s)


def test_split_of_a_multiple_needs_no_guard() -> None:
    n = te.var("n")
    A = te.placeholder((n,), name="A")
    C = te.compute((4 * n,), lambda i: A[i // 4], name="C")
    s = te.create_schedule(C)
    s[C].split("i", factor=2)
    assert nest(s).split("\n")[:3] == [
        "for i.o in range(n * 2):", "  for i.i in range(2):", "    C(i=i.o * 2 + i.i):",
    ]  # fmt: skip


def test_a_tile_is_as_large_as_its_numbers_say() -> None:
    s, P, C = stencil()
    outer, _ = s[C].split("i", factor=4)
    s[P].compute_at(s[C], outer)
    assert nest(s).split("\n")[:4] == [
        "for i.o in range((n + 3) // 4):",
        "  for i in range(6):",
        "    P(i=i.o * 4 + i):",
        "      where i.o * 4 + i < n + 2",
    ]
    assert "P = alloc(int32[6], 'global')" in str(lower(s))
    check_round_trip(s)


def test_a_region_may_be_as_long_as_a_size() -> None:
    s, C, D = matmul()
    s[C].compute_at(s[D], "i")
    assert nest(s).split("\n")[:5] == [
        "for i in range(n):",
        "  for i_1 in range(1):",
        "    for j in range(m):",
        "      for r in range(k):",
        "        C(i=i, j=j, r=r):  # reduces r",
    ]
    assert "C = alloc(int32[1, m], 'global')" in str(lower(s))


def test_fuse_divides_by_a_size() -> None:
    s, _, D = matmul()
    s[D].fuse("i", "j")
    assert nest(s).split("\n")[6:] == [
        "for i.j in range(m * n):", "  D(i=i.j // m, j=i.j % m):", "    D[i, j] = max(C[i, j] - 1, 0)",
    ]  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(st.data(), st.integers(0, 19), st.integers(0, 9), st.integers(0, 5))
def test_a_schedule_of_many_primitives_means_the_same(data: st.DataObject, n: int, m: int, k: int) -> None:
    s, C, D = matmul()
    io, jo, ii, ji = s[D].tile("i", "j", data.draw(st.integers(1, 5)), data.draw(st.integers(1, 5)), tail="cut")
    s[C].split("r", nparts=data.draw(st.integers(1, 4)))
    s.cache_read(s.inputs[0], "local")
    if data.draw(st.booleans()):
        s[C].compute_at(s[D], data.draw(st.sampled_from([io, jo, ii])))
    if data.draw(st.booleans()):
        s[C].transform_layout(lambda i, j: (j // 4, i, j % 4))
    s[C].reorder("r.o", "i", "r.i", "j")
    s[D].vectorize(ji)
    s[D].unroll(ii)
    s[D].parallel(s[D].fuse(io, jo) if not any(x.attach for x in s.state.stages.values()) else io)
    check(s, (n, k), (k, m))
    check_round_trip(s)


@settings(deadline=None)
@given(st.integers(0, 20), st.integers(1, 6))
def test_inlined_and_cached(n: int, factor: int) -> None:
    s, P, C = stencil()
    s[P].compute_inline()
    s.cache_write(C, "local")
    outer, _ = s[C].split("i", factor=factor)
    s["C.local"].compute_at(s[C], outer)
    check(s, (n,))


@pytest.mark.parametrize(
    ("step", "error", "says"),
    [
        (
            lambda s: s["D"].vectorize("j"),
            StructureError,
            "loop 'j' has m turns, and only a loop whose turns",
        ),
        (lambda s: s["D"].unroll("j"), StructureError, "can be unrolled"),
        (lambda s: s["D"].bind("j", "threadIdx.x"), StructureError, "bound to the threads of a block"),
        (
            lambda s: s["C"].transform_layout(lambda i, j: (i % 8, j)),
            LayoutError,
            "does not give each element of 'C' a place of its own",
        ),
    ],
)
def test_refusals(step: object, error: type[ScheduleError], says: str) -> None:
    s, _, _ = matmul()
    with pytest.raises(error, match=says):
        step(s)  # type: ignore[operator]


def test_blocks_of_a_grid_may_be_as_many_as_a_size() -> None:
    s, C, D = matmul()
    s[D].bind("i", "blockIdx.x")
    s[C].bind("j", "blockIdx.x")
    check(s, (3, 4), (4, 2))
    with pytest.raises(StructureError, match=r"bound to blockIdx\.x with n turns, and 'j' has m"):
        s[D].bind("j", "blockIdx.x")


def test_two_sizes_of_one_name_are_refused() -> None:
    A = te.placeholder((te.var("n"), te.var("n")), name="A")
    with pytest.raises(ArgumentError, match="two sizes are called 'n'"):
        te.create_schedule(te.compute(A.shape, lambda i, j: A[i, j], name="C"))


def test_binding_replays_the_steps_on_numbers() -> None:
    s, C, D = matmul()
    n, m, k = s.inputs[0].shape[0], s.outputs[0].shape[1], s.inputs[0].shape[1]
    io, *_ = s[D].tile("i", "j", 4, 4)
    s[C].compute_at(s[D], io)
    bound = s.bind_sizes({n: 8, m: 6, k: 2})
    assert bound.trace == s.trace
    assert "range(2)" in str(bound)
    assert bound.outputs[0].shape == (8, 6)
    check(bound, (8, 2), (2, 6))
    half = s.bind_sizes({k: 2})
    check(half, (5, 2), (2, 7))
    with pytest.raises(ShapeError, match="is no size"):
        s.bind_sizes({"n": 8})  # type: ignore[dict-item]


def test_a_region_divides_by_no_size_that_may_be_0() -> None:
    n = te.var("n")
    A = te.placeholder((n,), "int32", name="A")
    P = te.compute((n,), lambda i: A[i] + 1, name="P")
    C = te.compute((3,), lambda i: te.select(n > 0, P[(i + 1) % n], 0), name="C")
    s = te.create_schedule(C)
    s[P].compute_at(s[C], "i")
    assert nest(s).split("\n")[:4] == [
        "for i in range(3):", "  for i_1 in range(4):", "    P(i=i_1):", "      where i_1 < n",
    ]  # fmt: skip
    for size in (0, 1, 2, 7):
        check(s, (size,))
    check_round_trip(s)


def test_a_region_divides_by_a_size_that_loops_say_is_1_or_more() -> None:
    n = te.var("n")
    A = te.placeholder((n,), "int32", name="A")
    P = te.compute((n,), lambda i: A[i] + 1, name="P")
    C = te.compute((n,), lambda i: P[(i + 1) % n], name="C")
    s = te.create_schedule(C)
    s[P].compute_at(s[C], "i")
    assert nest(s).split("\n")[:2] == ["for i in range(n):", "  for i_1 in range(1):"]
    for size in (0, 1, 2, 7):
        check(s, (size,))
