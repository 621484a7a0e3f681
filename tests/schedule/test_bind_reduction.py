"""bind of a thread axis over a reduction: threads combine what each of them has (cross-thread reduction)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashsched import te
from flashsched.codegen.analysis import nest_works
from flashsched.codegen.interpreter import InterpreterError, interpret
from flashsched.codegen.lower import CPU_PASSES, lower
from flashsched.errors import DependenceError
from flashsched.hw.registry import devices
from flashsched.schedule.ir import Block, For, LoopKind, Stmt, rewrite_stmt
from flashsched.schedule.primitives.loops import set_kind
from flashsched.schedule.schedule import Schedule
from flashsched.schedule.threads import require_sound_threads
from flashsched.testing.checks import check_meaning, check_round_trip
from flashsched.testing.programs import argmax, matmul, row_sum


def tutorial(rows: int, length: int, factor: int, threads: int) -> tuple[Schedule, te.Tensor, te.Tensor]:
    """The tutorials' reduction: parts by rfactor, a thread each, combined across threadIdx.x."""
    _, B = row_sum(rows, 0, length)
    s = te.create_schedule(B)
    _, ki = s[B].split(s[B].op.reduce_axis[0], factor=factor)
    part = s.rfactor(B, ki)
    xo, xi = s[B].split(s[B].op.axis[0], factor=threads)
    s[B].bind(xo, te.thread_axis("blockIdx.x"))
    s[B].bind(xi, te.thread_axis("threadIdx.y"))
    s[B].bind(s[B].op.reduce_axis[0], te.thread_axis("threadIdx.x"))
    s[part].compute_at(s[B], s[B].op.reduce_axis[0])
    return s, B, part


@settings(max_examples=10, deadline=None)
@given(
    rows=st.integers(1, 7),
    length=st.sampled_from([0, 1, 5, 12, 13]),
    factor=st.integers(1, 4),
    threads=st.integers(1, 3),
)
def test_the_tutorials_reduction(rows: int, length: int, factor: int, threads: int) -> None:
    s, *_ = tutorial(rows, length, factor, threads)
    check_meaning(s, compiled=True)
    check_round_trip(s)


@settings(max_examples=10, deadline=None)
@given(m=st.integers(0, 4), n=st.integers(1, 4), k=st.integers(0, 7), factor=st.integers(1, 4), inside=st.booleans())
def test_a_split_reduction_without_rfactor(m: int, n: int, k: int, factor: int, inside: bool) -> None:
    """Each thread has some turns of the reduction itself; the output's loops may stand inside, too."""
    *_, C = matmul(m, n, k)
    s = te.create_schedule(C)
    _, ki = s[C].split("k", factor)
    if inside:
        s[C].reorder(ki, "i")
    s[C].bind("i", "threadIdx.y")
    s[C].bind(ki, "threadIdx.x")
    check_meaning(s, compiled=True)
    check_round_trip(s)


def test_the_nest_says_which_elements_the_threads_meet_at() -> None:
    s, B, _ = tutorial(4, 12, 4, 2)
    assert str(s).split("\n")[2].strip() == "for k.i in range(4):  # threadIdx.x"
    lowered = str(lower(s))
    assert "for k.i in range(4):  # threadIdx.x, combines=('B',)" in lowered.replace(B.name, "B")
    assert "combines" not in str(lower(s, passes=CPU_PASSES))


def test_argmax_across_threads() -> None:
    *_, at = argmax(3, 8)
    s = te.create_schedule(at)
    s[at].bind(s[at].op.reduce_axis[0], "threadIdx.x")
    check_meaning(s, compiled=True)
    check_round_trip(s)


def test_a_reduction_whose_init_stands_apart() -> None:
    *_, C = matmul(3, 4, 6)
    s = te.create_schedule(C)
    s[C].bind("k", "threadIdx.x")
    s[C].decompose_reduction("j")
    check_meaning(s, compiled=True)
    check_round_trip(s)


def test_a_cooperative_copy_inside_of_threads_that_combine() -> None:
    A, _, C = matmul(3, 4, 8)
    s = te.create_schedule(C)
    _, ki = s[C].split("k", 4)
    s[C].bind(ki, "threadIdx.x")
    copy = s.cache_read(A, "shared", [C])
    s[copy].compute_at(s[C], ki)
    s[copy].bind(s[copy].op.axis[1], "threadIdx.x")
    check_meaning(s, compiled=True)
    check_round_trip(s)


def test_a_reduction_computed_in_another_stage() -> None:
    """The usual softmax: a block a row, whose threads find the row's largest and its sum together."""
    A, C = row_sum(5, 0, 8)
    D = te.compute((5, 8), lambda i, j: A[i, j] / C[i], name="D")
    s = te.create_schedule(D)
    s[D].bind("i", "blockIdx.x")
    s[C].compute_at(s[D], "i")
    s[C].set_scope("shared")
    s[C].bind("k", "threadIdx.x")
    s[D].bind("j", "threadIdx.x")
    check_meaning(s, compiled=True)
    check_round_trip(s)


def test_threads_that_combine_refuse() -> None:
    *_, C = matmul(4, 4, 4)
    s = te.create_schedule(C)
    with pytest.raises(DependenceError, match=r"(?s)'k' runs over a reduction.*\(blockIdx.x\) would lose some"):
        s[C].bind("k", "blockIdx.x")
    s[C].bind("i", "threadIdx.x")
    with pytest.raises(DependenceError, match=r"(?s)combine what each has of 'C', inside loop 'i'.*another axis"):
        s[C].bind("k", "threadIdx.x")
    s[C].bind("k", "threadIdx.y")
    t = te.create_schedule(C)
    t[C].bind("k", "threadIdx.x")
    with pytest.raises(DependenceError, match=r"inside loop 'i', which"):
        t[C].bind("i", "threadIdx.x")


def test_a_loop_over_the_reduction_and_the_output_is_seen() -> None:
    """No primitive makes one; were one to, the nest would be refused as a whole."""
    *_, C = matmul(4, 4, 4)
    s = te.create_schedule(C)
    s[C].reorder("k", "i")
    state = set_kind(s.state, s.state.loop("C", "k"), LoopKind.THREAD_X)
    require_sound_threads(state)
    k = state.loop("C", "k").var

    def skewed(node: Stmt) -> Stmt | None:
        if not isinstance(node, Block):
            return None
        first = replace(node.iters[0], value=(node.iters[0].value + k) % 4)
        return replace(node, iters=(first, *node.iters[1:]))

    with pytest.raises(DependenceError, match="runs over its output too"):
        require_sound_threads(state.with_body(rewrite_stmt(state.body, skewed)))


def test_turns_that_meet_elsewhere_are_still_a_race() -> None:
    """Only what a reduction combines may meet: the lowered nest without its note is refused."""
    *_, C = matmul(2, 2, 4)
    s = te.create_schedule(C)
    s[C].bind("k", "threadIdx.x")
    program = lower(s)
    given = [np.ones((2, 4), "float32"), np.ones((4, 2), "float32")]
    assert (interpret(program, given)[0] == 4).all()

    def forget(node: Stmt) -> Stmt | None:
        return replace(node, notes={}) if isinstance(node, For) else None

    with pytest.raises(InterpreterError, match=r"race in the threadIdx.x loop 'k': turn 1 reads C\[0, 0\]"):
        interpret(program.with_body(rewrite_stmt(program.body, forget)), given)


def test_a_gpu_combines_as_a_tree() -> None:
    """More threads a row: a longer tree, fewer of them; beyond a warp, two barriers around each."""

    def work(threads: int):  # type: ignore[no-untyped-def]
        _, C = row_sum(256, 0, 4096)
        s = te.create_schedule(C)
        _, ki = s[C].split("k", threads)
        s[C].bind("i", "blockIdx.x")
        s[C].bind(ki, "threadIdx.x")
        (found,) = nest_works(s, devices["a100-sim"])
        return found

    assert work(32).barriers == 4096 / 32 * 5
    assert work(128).barriers == 4096 / 128 * (7 + 2)
    assert work(32).overhead_per_op < work(128).overhead_per_op
    assert work(32).threads_per_block == 32
    assert work(32).useful_flops == work(128).useful_flops
