"""What loops visit, counted: every point once after any split, fuse and reorder, and what is read computed before.

The nest is run here by nothing but NumPy on the bindings of its blocks, so that an error of the interpreter can't hide
an error of a primitive.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from flashsched import te
from flashsched.errors import ScheduleError
from flashsched.schedule.ir import Block, For, Load, Stmt, block_loads, sub_stmts
from flashsched.schedule.primitives.tails import TAILS
from flashsched.schedule.schedule import Schedule
from flashsched.te.expr import Expr, Var
from flashsched.te.tensor import Tensor
from flashsched.te.visit import substitute
from flashsched.testing.grids import EXAMPLES, points, values
from flashsched.testing.programs import chain, pointwise


def found(stmt: Stmt, around: tuple[For, ...] = ()) -> list[tuple[Block, tuple[For, ...]]]:
    """The blocks of a nest, each with the loops around it."""
    if isinstance(stmt, Block):
        return [(stmt, around)]
    inner = (*around, stmt) if isinstance(stmt, For) else around
    return [each for child in sub_stmts(stmt) for each in found(child, inner)]


def visited(block: Block, loops: tuple[For, ...]) -> dict[str | Var, np.ndarray]:
    """The values of the iteration variables, and of the loops, at each point that is computed and no padding."""
    at = points({loop.var: (0.0, (loop.turns or 0) - 1.0) for loop in loops})
    here = np.ones(len(next(iter(at.values()))) if at else 1, bool)
    for condition in (*block.where, *block.within):
        here &= values(condition, at)
    seen: dict[str | Var, np.ndarray] = {loop.var: at[loop.var][here] for loop in loops}
    seen |= {item.var: values(item.value, at)[here] for item in block.iters}
    return seen


@st.composite
def reshaped(draw: st.DrawFn, schedule: Schedule, stage: Tensor, tails: tuple[str, ...], most: int) -> Schedule:
    """*schedule* after some splits, fuses and reorders of *stage*."""
    for _ in range(draw(st.integers(0, most))):
        names = [loop.name for loop in schedule[stage].loops]
        what = draw(st.sampled_from(["split", "fuse", "reorder"]))
        try:
            if what == "split":
                factor, tail = draw(st.integers(1, 6)), draw(st.sampled_from(tails))
                schedule[stage].split(draw(st.sampled_from(names)), factor, tail=tail)
            elif what == "fuse":
                schedule[stage].fuse(*draw(st.permutations(names))[:2])
            else:
                schedule[stage].reorder(*draw(st.permutations(names)))
        except ScheduleError:
            pass
    return schedule


@settings(max_examples=2 * EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), shape=st.tuples(st.integers(0, 7), st.integers(0, 9)))
def test_each_point_once(data: st.DataObject, shape: tuple[int, int]) -> None:
    _, C = pointwise(*shape)
    s = data.draw(reshaped(te.create_schedule(C), C, tuple(t for t in TAILS if t != "shift"), 6))
    note(str(s))
    ((block, loops),) = found(s.body)
    seen = visited(block, loops)
    i, j = (item.var for item in block.iters)
    counts = Counter(zip(seen[i].tolist(), seen[j].tolist(), strict=True))
    assert counts == Counter((x, y) for x in range(shape[0]) for y in range(shape[1]))


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), shape=st.tuples(st.integers(0, 7), st.integers(0, 9)))
def test_each_point_at_least_once_where_tiles_are_shifted(data: st.DataObject, shape: tuple[int, int]) -> None:
    _, C = pointwise(*shape)
    s = data.draw(reshaped(te.create_schedule(C), C, TAILS, 6))
    note(str(s))
    ((block, loops),) = found(s.body)
    seen = visited(block, loops)
    i, j = (item.var for item in block.iters)
    assert set(zip(seen[i].tolist(), seen[j].tolist(), strict=True)) == {
        (x, y) for x in range(shape[0]) for y in range(shape[1])
    }


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), shape=st.tuples(st.integers(1, 7), st.integers(1, 8)))
def test_padding_meets_no_point(data: st.DataObject, shape: tuple[int, int]) -> None:
    """No element is written as padding and as a point, and none is written as padding twice."""
    _, P, C = chain(*shape)
    s = data.draw(reshaped(te.create_schedule(C), P, ("pad", "pad", "guard", "cut"), 6))
    note(str(s))
    block, loops = found(s.body)[0]
    at = points({loop.var: (0.0, (loop.turns or 0) - 1.0) for loop in loops})
    here = np.ones(len(next(iter(at.values()))), bool)
    for condition in block.where:
        here &= values(condition, at)
    written = Counter(zip(*(values(item.value, at)[here].tolist() for item in block.iters), strict=True))
    assert set(written.values()) <= {1}
    size = s.state.stages["P"].buffers[0].shape
    assert all(x < size[0] and y < size[1] for x, y in written)


READS = [
    lambda P, i, j: P[i, j],
    lambda P, i, j: P[i, j] + P[i + 1, j],
    lambda P, i, j: P[i, 2 * j] + P[i + 2, 2 * j + 1],
    lambda P, i, j: P[(i + j) // 2, j],
    lambda P, i, j: P[i // 2 + 1, (i + j) % 3],
]


@settings(max_examples=2 * EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), shape=st.tuples(st.integers(1, 5), st.integers(1, 6)), which=st.sampled_from(READS))
def test_compute_at_computes_what_each_turn_reads(data: st.DataObject, shape: tuple[int, int], which: object) -> None:
    A = te.placeholder((shape[0] + 8, 2 * shape[1] + 4), name="A")
    P = te.compute(A.shape, lambda i, j: A[i, j] + 1, name="P")
    C = te.compute(shape, lambda i, j: which(P, i, j), name="C")  # type: ignore[operator]
    s = data.draw(reshaped(te.create_schedule(C), C, TAILS, 4))
    s[P].compute_at(s[C], data.draw(st.sampled_from([loop.name for loop in s[C].loops])))
    s = data.draw(reshaped(s, P, TAILS, 3))
    note(str(s))
    (producer, mine), (consumer, theirs) = found(s.body)
    shared = [loop for loop in mine if loop in theirs]
    made, read = visited(producer, mine), visited(consumer, theirs)
    turn_of = [loop.var for loop in shared]
    have = set(zip(*(made[v].tolist() for v in (*turn_of, *(item.var for item in producer.iters))), strict=True))
    axes: dict[Var, np.ndarray] = {item.var: read[item.var] for item in consumer.iters}
    for load in block_loads(consumer):
        assert isinstance(load, Load)
        indices: list[Expr] = [substitute(index, {}) for index in load.indices]
        at = [values(index, axes) for index in indices]
        want = set(zip(*(read[v].tolist() for v in turn_of), *(part.tolist() for part in at), strict=True))
        assert want <= have, sorted(want - have)[:3]
    rows = set(zip(read[consumer.iters[0].var].tolist(), read[consumer.iters[1].var].tolist(), strict=True))
    assert rows == {(x, y) for x in range(shape[0]) for y in range(shape[1])}
