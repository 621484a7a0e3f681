"""rolling_buffer: what earlier turns computed stays, and each point is computed once."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flashsched import te
from flashsched.codegen.analysis import nest_works
from flashsched.codegen.interpreter import interpret_nest
from flashsched.codegen.lower import lower
from flashsched.errors import DependenceError, OutputError, StructureError
from flashsched.hw.registry import devices
from flashsched.schedule.ir import Alloc, Block, Buffer, Load, Stmt, Store, blocks, rewrite_stmt, walk_stmt
from flashsched.schedule.schedule import Schedule
from flashsched.te.expr import const
from flashsched.te.tensor import Tensor
from flashsched.testing.checks import check_meaning, check_round_trip, whole_numbers
from flashsched.testing.programs import chain


def rows(n: int, m: int, reach: int = 3, step: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """A, ``P = A + 1`` and C: sums of *reach* rows of P that lie side by side, from every *step*-th row on."""
    A = te.placeholder(((n - 1) * step + reach, m) if n else (reach, m), name="A")
    P = te.compute(A.shape, lambda i, j: A[i, j] + 1, name="P")

    def window(i: Any, j: Any) -> Any:
        total = P[i * step, j]
        for d in range(1, reach):
            total = total + P[i * step + d, j] * (d + 1)
        return total

    return A, P, te.compute((n, m), window, name="C")


def held(s: Schedule) -> dict[str, tuple[int, ...]]:
    return {node.buffer.name: node.buffer.shape for node in walk_stmt(lower(s).body) if isinstance(node, Alloc)}


def computed(s: Schedule, name: str) -> np.ndarray[Any, Any]:
    """How often each point of the stage *name* is computed."""
    (block,) = [b for b in blocks(s.body) if b.name == name]
    store = block.stores[0]
    count = Buffer("count", store.buffer.shape, "int32")
    more = Store(count, store.indices, Load(count, store.indices) + const(1, "int32"))

    def change(node: Stmt) -> Stmt | None:
        if isinstance(node, Block) and node.name == name:
            return Block(node.name, node.iters, (*node.stores, more), node.init, node.where)
        return None

    zeros = np.zeros(count.shape, "int32")
    feeds = dict(zip(s.state.params, whole_numbers(s).values(), strict=True))
    return interpret_nest(rewrite_stmt(s.body, change), {**feeds, count: zeros}, [count], check_races=False)[0]


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    n=st.integers(0, 12), m=st.integers(1, 5), reach=st.integers(2, 5), step=st.integers(1, 3),
    factor=st.integers(1, 5), at=st.sampled_from(["i", "i.o", "i.i"]), own=st.integers(0, 3), vector=st.booleans(),
)  # fmt: skip
def test_windows_of_any_size(
    n: int, m: int, reach: int, step: int, factor: int, at: str, own: int, vector: bool
) -> None:
    _, P, C = rows(n, m, reach, step)
    s = te.create_schedule(C)
    if at != "i":
        s[C].split("i", factor)
    s[P].compute_at(s[C], at)
    with contextlib.suppress(DependenceError):  # nothing overlaps, or one turn needs all of it
        s[P].rolling_buffer()
    if own:
        s[P].split(s[P].op.axis[0], own)
    if vector:
        s[P].vectorize(s[P].op.axis[1])
        s[C].vectorize("j")
    check_meaning(s, compiled=True)
    check_round_trip(s)


def test_each_point_is_computed_once() -> None:
    _, P, C = rows(9, 4)
    s = te.create_schedule(C)
    s[P].compute_at(s[C], "i")
    assert computed(s, "P")[:, 0].tolist() == [1, 2, 3, 3, 3, 3, 3, 3, 3, 2, 1]
    s[P].rolling_buffer()
    assert (computed(s, "P") == 1).all()
    assert held(s) == {"P": (3, 4)}
    s[P].split(s[P].op.axis[0], 2)
    assert (computed(s, "P") == 1).all()
    t = te.create_schedule(C)  # in tiles: once a tile
    outer, inner = t[C].split("i", 3)
    t[C].parallel(outer)
    t[P].compute_at(t[C], inner)
    t[P].rolling_buffer()
    assert computed(t, "P")[:, 0].tolist() == [1, 1, 1, 2, 2, 1, 2, 2, 1, 1, 1]
    check_meaning(t, compiled=True)


def test_the_rows_go_round() -> None:
    _, P, C = rows(5, 4)
    s = te.create_schedule(C)
    s[P].compute_at(s[C], "i")
    s[P].rolling_buffer()
    assert str(lower(s)).split("\n")[1:] == [
        "  P = alloc(float32[3, 4], 'global')",
        "  for i in range(5):",
        "    for i_1 in range(3):",
        "      if i == 0 or i_1 >= 2:",
        "        for j in range(4):",
        "          P[(i + i_1) % 3, j] = A[i + i_1, j] + 1.0",
        "    for j in range(4):",
        "      C[i, j] = P[i % 3, j] + P[(i + 1) % 3, j] * 2.0 + P[(i + 2) % 3, j] * 3.0",
    ]


def test_stages_that_roll_over_stages_that_roll() -> None:
    A = te.placeholder((12, 4), name="A")
    Q = te.compute((12, 4), lambda i, j: A[i, j] + 1, name="Q")
    P = te.compute((10, 4), lambda i, j: Q[i, j] + Q[i + 1, j] + Q[i + 2, j], name="P")
    C = te.compute((8, 4), lambda i, j: P[i, j] - P[i + 1, j] + P[i + 2, j], name="C")
    s = te.create_schedule(C)
    s[P].compute_at(s[C], "i")
    s[Q].compute_at(s[C], "i")
    s[P].rolling_buffer()
    s[Q].rolling_buffer()
    assert held(s) == {"P": (3, 4), "Q": (5, 4)}
    assert (computed(s, "Q") == 1).all()
    assert (computed(s, "P") == 1).all()
    check_meaning(s, compiled=True)
    check_round_trip(s)


def test_a_reduction_rolls() -> None:
    A = te.placeholder((10, 3), name="A")
    k = te.reduce_axis((0, 3), name="k")
    P = te.compute((10,), lambda i: te.sum(A[i, k], axis=k), name="P")
    C = te.compute((8,), lambda i: P[i] + P[i + 2], name="C")
    s = te.create_schedule(C)
    s[P].compute_at(s[C], "i")
    s[P].rolling_buffer()
    check_meaning(s, compiled=True)


def test_threads_of_a_gpu_have_windows_of_their_own() -> None:
    _, P, C = rows(6, 8)
    s = te.create_schedule(C)
    s[C].reorder("j", "i")
    s[C].bind("j", "threadIdx.x")
    s[P].set_scope("local")
    s[P].compute_at(s[C], "i")
    s[P].rolling_buffer()
    assert held(s) == {"P": (3, 1)}
    assert (computed(s, "P") == 1).all()
    check_meaning(s, compiled=True)
    assert nest_works(s, devices["a100-sim"])


def test_a_window_in_shared_memory_is_filled_by_all_threads() -> None:
    _, P, C = rows(6, 8)
    s = te.create_schedule(C)
    s[C].bind("j", "threadIdx.x")
    s[C].reorder("j", "i")
    s[P].set_scope("shared")
    s[P].compute_at(s[C], "i")
    s[P].bind(s[P].op.axis[1], "threadIdx.x")
    s[P].rolling_buffer()
    assert held(s) == {"P": (3, 8)}
    check_meaning(s, compiled=True)


def test_a_stencil_with_borders_and_other_marks() -> None:
    _, P, C = rows(9, 16)
    s = te.create_schedule(C)
    s[P].compute_at(s[C], "i")
    s[P].rolling_buffer()
    s[P].transform_layout(lambda i, j: (j // 4, i, j % 4))
    s[P].storage_align(1, 8)
    s[C].prefetch("A", "i", 1)
    check_meaning(s, compiled=True)
    check_round_trip(s)


@pytest.mark.parametrize("factor", [2, 3, 9, 10])
def test_a_loop_that_is_split_hands_on_what_its_new_turns_need(factor: int) -> None:
    _, P, C = rows(9, 4)
    s = te.create_schedule(C)
    s[P].compute_at(s[C], "i")
    t = s.copy()
    s[P].rolling_buffer()
    s[C].split("i", factor)
    t[C].split("i", factor)
    t[P].rolling_buffer()
    assert str(s) == str(t)
    check_meaning(s, compiled=True)
    check_round_trip(s)
    with pytest.raises(DependenceError, match=r"a turn of loop 'i\.i\.i' needs moves in 0 dimensions"):
        s[C].split("i.i", 1)


def test_it_stays_with_the_stage() -> None:
    _, P, C = rows(9, 4)
    s = te.create_schedule(C)
    s[P].compute_at(s[C], "i")
    s[P].rolling_buffer()
    s[P].compute_root()
    assert held(s) == {"P": (11, 4)}
    outer, inner = s[C].split("i", 3)
    s[P].compute_at(s[C], inner)
    assert held(s) == {"P": (3, 4)}
    s[P].compute_at(s[C], outer)
    assert held(s) == {"P": (5, 4)}
    check_meaning(s, compiled=True)


def test_rolling_buffer_refuses() -> None:
    _, P, C = rows(9, 4)
    s = te.create_schedule(C)
    with pytest.raises(OutputError, match=r"(?s)'C' is an output.*cache_write\('C', 'local'\)"):
        s[C].rolling_buffer()
    with pytest.raises(StructureError, match=r"(?s)'P' is not computed at a loop.*hint: move it first"):
        s[P].rolling_buffer()
    s[P].compute_at(s[C], "j")
    with pytest.raises(DependenceError, match="needs of 1 moves by 1, and nothing of it stays"):
        s[P].rolling_buffer()
    s[P].compute_at(s[C], "i")
    t = s.copy()
    t[C].parallel("i")
    with pytest.raises(StructureError, match=r"(?s)loop 'i' is marked parallel.*rolling buffer.*hint: split the loop"):
        t[P].rolling_buffer()
    t = s.copy()
    t[P].double_buffer()
    with pytest.raises(StructureError, match="'P' is both a rolling and a double buffer"):
        t[P].rolling_buffer()
    s[P].rolling_buffer()
    with pytest.raises(StructureError, match="loop 'i' is marked parallel"):
        s[C].parallel("i")
    with pytest.raises(StructureError, match="loop 'i' is marked blockIdx"):
        s[C].bind("i", "blockIdx.x")
    with pytest.raises(DependenceError, match=r"would work on different turns|outlives the turn"):
        s[C].software_pipeline("i", stages=[0, 1])
    with pytest.raises(StructureError, match="what its split pads would overwrite"):
        s[P].split(s[P].op.axis[0], 2, tail="pad")
    _, P, C = chain(4, 4)
    u = te.create_schedule(C)
    u[P].compute_at(u[C], "i0")
    with pytest.raises(DependenceError, match=r"of 1 moves by 1, and nothing of it stays"):
        u[P].rolling_buffer()


def test_what_follows_does_not_roll() -> None:
    """The fuzzer found that to follow was a fault where the dimensions that a stage has whole are not asked for."""
    A = te.placeholder((4, 3), name="A")
    B = te.compute((4, 3), lambda i, j: A[i, j] + 1, name="B")
    P = te.compute((4, 3), lambda i, j: B[i, 0] * 2 + j.astype("float32"), name="P")
    C = te.compute((3, 3), lambda i, j: P[i, j] + P[i + 1, j], name="C")
    says = "'P' is a rolling buffer, and what it follows needs all of its part in each turn"
    s = te.create_schedule(C)
    s[P].compute_at(s[C], "i")
    s[P].rolling_buffer()
    with pytest.raises(StructureError, match=says):
        s[P].reverse_compute_at(s[B], "i")
    s = te.create_schedule(C)
    s[P].reverse_compute_at(s[B], "i")
    with pytest.raises(StructureError, match=says):
        s[P].rolling_buffer()


def test_a_part_that_does_not_move_evenly_is_refused() -> None:
    A = te.placeholder((9,), name="A")
    P = te.compute((9,), lambda i: A[i] + 1, name="P")
    C = te.compute((9,), lambda i: P[i // 2] + P[te.minimum(i // 2 + 1, 8)], name="C")
    s = te.create_schedule(C)
    s[P].compute_at(s[C], "i")
    with pytest.raises(DependenceError, match="does not move on evenly"):
        s[P].rolling_buffer()
