"""What is kept with statements: it is that of a nest made anew, and nothing found before holds where it no longer does.

Steps share statements, and statements keep what was found of them. Here no answer may depend on who asked before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings

from flashsched import te
from flashsched.errors import DependenceError, ScheduleError, StructureError
from flashsched.schedule import Schedule, facts
from flashsched.schedule.ir import Block, For, LoopKind, Seq, Stmt, Store, walk_stmt
from flashsched.schedule.nest import find_block, path_to_loop, replace_loop
from flashsched.schedule.state import State
from flashsched.schedule.threads import require_sound_threads
from flashsched.testing.graphs import Graph
from flashsched.testing.schedules import bound_programs

OF_ANY: tuple[Callable[[Stmt], object], ...] = (
    facts.stages_in, facts.vars_in, facts.marks_in, facts.buffers_in, facts.read_in, facts.filled_together,
    facts.threads_around,
)  # fmt: skip


def anew(stmt: Stmt) -> Stmt:
    """The same nest of new statements, of which nothing was found yet."""
    if isinstance(stmt, For):
        return stmt.around(anew(stmt.body))
    if isinstance(stmt, Seq):
        return Seq(tuple(map(anew, stmt.stmts)))
    assert isinstance(stmt, Block)
    stores, init = ([Store(s.buffer, s.indices, s.value) for s in part] for part in (stmt.stores, stmt.init))
    return replace(stmt, stores=tuple(stores), init=tuple(init))


def refused(state: State) -> tuple[type, str] | None:
    """What the rules of blocks and threads say against *state*."""
    try:
        require_sound_threads(state)
    except ScheduleError as error:
        return type(error), str(error)
    return None


@settings(max_examples=40)
@given(bound_programs())
def test_what_is_kept_is_what_is_found_of_a_nest_made_anew(drawn: tuple[Graph, Schedule]) -> None:
    state = drawn[1].state
    again = anew(state.body)
    for known, new in zip(walk_stmt(state.body), walk_stmt(again), strict=True):
        for fact in OF_ANY:
            assert fact(known) == fact(new), fact
        assert [block.name for block in facts.blocks_in(known)] == [block.name for block in facts.blocks_in(new)]
        if isinstance(known, Block) and isinstance(new, Block):
            assert (facts.uses_in(known), facts.reduced_in(known)) == (facts.uses_in(new), facts.reduced_in(new))
        if isinstance(known, For):
            assert path_to_loop(state.body, known)[-1] is known
    for name in facts.stages_in(state.body):
        assert [type(node) for node in find_block(state.body, name)] == [type(n) for n in find_block(again, name)]
    assert refused(state) is None is refused(state.with_body(again))


def shared_copy() -> Schedule:
    """A product whose left side a block's threads copy together, found sound after each step."""
    a, b = te.placeholder((32, 16), name="A"), te.placeholder((16, 32), name="B")
    k = te.reduce_axis((0, 16), name="k")
    c = te.compute((32, 32), lambda i, j: te.sum(a[i, k] * b[k, j], axis=k), name="C")
    s = te.create_schedule(c)
    near = s.cache_write(c, "local")
    copy = s.cache_read(a, "shared", [near])
    bi, bj, ti, tj = s[c].tile(*s[c].op.axis, 8, 8)
    for loop, axis in ((bi, "blockIdx.y"), (bj, "blockIdx.x"), (ti, "threadIdx.y"), (tj, "threadIdx.x")):
        s[c].bind(loop, axis)
    s[near].compute_at(s[c], tj)
    outer, _ = s[near].split(s[near].op.reduce_axis[0], factor=8)
    s[copy].compute_at(s[near], outer)
    for axis, thread in zip(s[copy].op.axis, ("threadIdx.y", "threadIdx.x"), strict=True):
        s[copy].bind(axis, thread)
    assert refused(s.state) is None
    return s


def of_kind(state: State, stage: str, loop: str, kind: LoopKind) -> State:
    """*state* with a loop bound to something else, and all below it as it was."""
    var = state.stages[stage].loops[loop]
    return state.with_body(replace_loop(state.body, var, lambda node: node.of_kind(kind)))


def in_scope(state: State, stage: str, scope: str) -> State:
    """*state* around the very same nest, with what it knows of the memory of *stage* changed."""
    known = state.stages[stage]
    return state.with_stage(replace(known, buffers=tuple(replace(b, scope=scope) for b in known.buffers)))


def test_a_scope_that_changes_after_the_check_is_seen() -> None:
    state = shared_copy().state
    found = refused(in_scope(state, "A.shared", "local"))
    assert found is not None
    assert found[0] is DependenceError
    assert "writes memory that they do not share" in found[1]
    assert refused(state) is None


def test_a_loop_that_is_bound_anew_is_seen() -> None:
    state = shared_copy().state
    verdicts = {}
    for stage, known in state.stages.items():
        for loop in known.loops:
            for kind in LoopKind:
                changed = of_kind(state, stage, loop, kind)
                verdicts[stage, loop, kind] = found = refused(changed)
                assert found == refused(changed.with_body(anew(changed.body))), (stage, loop, kind)
    assert verdicts["C", "i.o", LoopKind.SERIAL] is None
    for loop, kind, error, words in (
        (("C", "i.o"), LoopKind.BLOCK_X, StructureError, "stands inside 'i.o', which is bound to blockIdx.x"),
        (("C", "i.o"), LoopKind.PARALLEL, StructureError, "parallel on a CPU"),
        (("C", "i.i"), LoopKind.SERIAL, DependenceError, "needs another part of 'A.shared'"),
        (("C", "i.i"), LoopKind.THREAD_X, DependenceError, "stores all of 'A.shared'"),
        (("C.local", "k.i"), LoopKind.THREAD_X, DependenceError, "has each of these threads do something else"),
        (("C.local", "j"), LoopKind.THREAD_Y, DependenceError, "writes memory that they do not share"),
        (("A.shared", "i0"), LoopKind.VTHREAD, StructureError, "would each need a copy"),
    ):
        found = verdicts[(*loop, kind)]
        assert found is not None, (loop, kind)
        assert found[0] is error, (loop, kind)
        assert words in found[1]
    assert refused(state) is None


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (LoopKind.BLOCK_X, "bound to blockIdx.x, and stands inside 't'"),
        (LoopKind.THREAD_X, "stands inside 't', which is bound to threadIdx.x"),
        (LoopKind.THREAD_Z, "each turn of loop 't' (threadIdx.z) stores all of 'C'"),
    ],
)
def test_a_nest_that_is_put_under_a_loop_is_seen(kind: LoopKind, words: str) -> None:
    state = shared_copy().state
    found = refused(state.with_body(For(te.Var("t"), te.const(4, "int64"), state.body, kind)))
    assert found is not None
    assert words in found[1]
    assert refused(state) is None


def test_a_stage_that_is_moved_under_threads_is_seen() -> None:
    a = te.placeholder((8,), name="A")
    p = te.compute((8,), lambda i: a[i] + 1, name="P")
    c = te.compute((8,), lambda i: p[7 - i] * 2, name="C")
    d = te.compute((8,), lambda i: p[i] - 1, name="D")
    s = te.create_schedule([c, d])
    s[c].bind(s[c].op.axis[0], "threadIdx.x")
    assert isinstance(s.body, Seq)
    first, threads, last = s.body.stmts  # all three were found sound, and stay the same statements
    assert isinstance(threads, For)
    both = threads.around(Seq((first, threads.body)))
    found = refused(s.state.with_body(Seq((both, last))))
    assert found is not None
    assert "stores all of 'P', in memory that they share" in found[1]
    assert refused(s.state.with_body(both)) is None  # where no other nest reads it, each thread has its own
    assert refused(s.state) is None
