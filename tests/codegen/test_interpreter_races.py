"""Turns that run at once, of threads among them: what the interpreter calls a race."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from flashsched.codegen.interpreter import interpret_nest
from flashsched.errors import LoweringError
from flashsched.schedule.ir import Alloc, Block, Buffer, For, Iter, Load, LoopKind, Seq, Stmt, Store
from flashsched.te.expr import Expr

from .small_nests import (
    BLOCK,
    PARALLEL,
    SERIAL,
    THREAD,
    VECTORIZE,
    Matmul,
    S,
    faulty,
    index,
    loops,
    same_bits,
    variables,
)


@pytest.mark.parametrize("kind", [PARALLEL, VECTORIZE, BLOCK])  # threads combine what they have
def test_a_concurrent_loop_over_a_reduction_is_a_race(kind: LoopKind) -> None:
    case = Matmul(2, 2, 3)
    says = rf"race in the {kind.value} loop 'k': turn 1 reads C\[0, 0\], which turn 0 wrote"
    faulty(case.nest(k=kind), says, case.inputs(), case.c)
    assert same_bits(case.run(case.nest(k=kind), check_races=False), case.expected())


def test_two_turns_that_write_one_element_race() -> None:
    out = Buffer("out", (2,), "int64")
    (i,) = variables("i")
    nest = For(i, index(4), Store(out, (i // 2,), i // 2), PARALLEL)
    faulty(nest, r"turn 1 writes out\[0\], which turn 0 wrote", {}, out)


def test_a_turn_that_overwrites_what_an_earlier_one_read_races() -> None:
    a = Buffer("A", (5,), "int64")
    (i,) = variables("i")
    ahead = For(i, index(4), Store(a, (i,), Load(a, (i + 1,))), VECTORIZE)  # right when run in order only
    faulty(ahead, r"vectorize loop 'i': turn 1 writes A\[1\], which turn 0 read", {a: np.arange(5)}, a)
    behind = For(i, index(4), Store(a, (i + 1,), Load(a, (i,))), VECTORIZE)
    faulty(behind, r"vectorize loop 'i': turn 1 reads A\[1\], which turn 0 wrote", {a: np.arange(5)}, a)


def test_two_runs_of_one_concurrent_loop_do_not_race_with_each_other() -> None:
    a = Buffer("A", (4,), "int64")
    r, i = variables("r i")
    nest = loops([(r, 3), (i, 4, VECTORIZE)], Store(a, (3 - i,), Load(a, (3 - i,)) + r))
    assert interpret_nest(nest, {a: np.zeros(4, "int64")}, [a])[0].tolist() == [3] * 4
    flip = For(r, index(2), For(i, index(4), Store(a, ((i + r) % 4,), i), PARALLEL))
    assert interpret_nest(flip, {}, [a])[0].tolist() == [3, 0, 1, 2]


def test_turns_of_an_outer_loop_race_through_an_inner_one() -> None:
    out = Buffer("out", (4,), "int64")
    i, j = variables("i j")
    nest = loops([(i, 2, PARALLEL), (j, 4, VECTORIZE)], Store(out, (j,), j))
    faulty(nest, r"parallel loop 'i': turn 1 writes out\[0\], which turn 0 wrote \(at i=1, j=0\)", {}, out)


def stencil(kind: LoopKind) -> tuple[Stmt, Buffer, Buffer, Buffer]:
    """out[i] = P[i] + P[i + 1], with P's two elements made inside the loop, overlapping."""
    a, p, out = Buffer("A", (5,), "int64"), Buffer("P", (5,), "int64"), Buffer("out", (4,), "int64")
    i, j, x, y = variables("i j x y")
    make = For(j, index(2), Block("P", (Iter(x, 0, 5, S, i + j),), (Store(p, (x,), Load(a, (x,)) * 2),)))
    use = Block("out", (Iter(y, 0, 4, S, i),), (Store(out, (y,), Load(p, (y,)) + Load(p, (y + 1,))),))
    return For(i, index(4), Seq((make, use)), kind), a, p, out


def test_memory_used_within_one_turn_only_is_the_turns_own() -> None:
    nest, a, _, out = stencil(PARALLEL)
    assert interpret_nest(nest, {a: np.arange(5)}, [out])[0].tolist() == [2, 6, 10, 14]


def test_a_reduction_outlasts_the_loops_that_it_runs_over() -> None:
    case = Matmul(2, 2, 3)
    out = Buffer("out", (2, 2), "float32")
    i, j = variables("i j")
    copy = loops([(i, 2), (j, 2)], Store(out, (i, j), Load(case.c, (i, j))))
    unused = case.nest("kij", i=PARALLEL)  # nobody reads C but the reduction itself, over k outside
    assert same_bits(interpret_nest(Seq((unused, copy)), case.inputs(), [out])[0], case.expected())
    assert interpret_nest(unused, case.inputs(), []) == []


def test_storage_outside_a_parallel_loop_with_overlapping_stores_inside_is_a_race() -> None:
    nest, a, p, out = stencil(PARALLEL)
    faulty(Alloc(p, nest), r"turn 1 writes P\[1\], which turn 0 wrote", {a: np.arange(5)}, out)
    serial, a, p, out = stencil(SERIAL)
    assert interpret_nest(Alloc(p, serial), {a: np.arange(5)}, [out])[0].tolist() == [2, 6, 10, 14]


# Cooperative loops


def staged(
    store: Callable[[Expr, Expr], Expr], scope: str = "shared", alloc_inside: bool = False
) -> tuple[Stmt, Buffer, Buffer]:
    """Each of 4 threads of 2 blocks sums 8 elements, staged 4 at a time by all threads together."""
    a, out = Buffer("A", (2, 8), "int64"), Buffer("out", (2, 4), "int64")
    s = Buffer("S", (4,), "int64", scope)
    b, t, ko, c, k = variables("b t ko c k")
    fetch = For(c, index(4), Store(s, (c,), store(Load(a, (b, ko * 4 + c)), t)), THREAD)
    total = Store(out, (b, t), Load(out, (b, t)) + Load(s, (k,)) * (t + 1))
    work = Seq((Store(out, (b, t), index(0)), For(ko, index(2), Seq((fetch, For(k, index(4), total))))))
    if alloc_inside:
        nest: Stmt = For(t, index(4), Alloc(s, work), THREAD)
    else:
        nest = Alloc(s, For(t, index(4), work, THREAD))
    return For(b, index(2), nest, BLOCK), a, out


def test_a_cooperative_loop_is_shared_out_among_the_threads() -> None:
    nest, a, out = staged(lambda value, t: value)
    data = np.arange(16).reshape(2, 8)
    result = interpret_nest(nest, {a: data}, [out])[0]
    assert np.array_equal(result, data.sum(1, keepdims=True) * np.arange(1, 5))


def test_a_cooperative_loop_must_do_the_same_for_each_thread() -> None:
    nest, a, out = staged(lambda value, t: value + t)
    says = "turn 1 of the threadIdx.x loop 't' makes a cooperative loop store something else than turn 0 does"
    faulty(nest, says, {a: np.arange(16).reshape(2, 8)}, out)


def test_a_cooperative_loop_cannot_fill_what_each_thread_has_of_its_own() -> None:
    nest, a, out = staged(lambda value, t: value, "local", alloc_inside=True)
    with pytest.raises(LoweringError, match="each thread has a S of its own"):
        interpret_nest(nest, {a: np.arange(16).reshape(2, 8)}, [out])


def test_threads_that_fill_shared_memory_each_for_itself_race() -> None:
    s, out = Buffer("S", (4,), "int64", "shared"), Buffer("out", (4,), "int64")
    t, k = variables("t k")
    body = Seq((For(k, index(4), Store(s, (k,), k)), Store(out, (t,), Load(s, (t,)))))
    threads = For(t, index(4), body, THREAD)
    faulty(Alloc(s, threads), r"turn 1 writes S\[0\], which turn 0 wrote", {}, out)
    assert interpret_nest(threads, {}, [out])[0].tolist() == [0, 1, 2, 3]  # with a copy for each, as it is lowered


def test_the_turns_of_a_cooperative_loop_race_as_any_others() -> None:
    s, out = Buffer("S", (4,), "int64", "shared"), Buffer("out", (4,), "int64")
    t, c = variables("t c")
    body = Seq((For(c, index(4), Store(s, (c // 2,), c // 2), THREAD), Store(out, (t,), Load(s, (t // 2,)))))
    faulty(For(t, index(4), body, THREAD), r"threadIdx.x loop 'c': turn 1 writes S\[0\], which turn 0 wrote", {}, out)
