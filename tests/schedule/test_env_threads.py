"""env_threads: the threads of a block go through one nest together."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashsched import te
from flashsched.codegen.interpreter import InterpreterError, interpret
from flashsched.codegen.lower import program_of
from flashsched.errors import ArgumentError, DependenceError, StructureError, UnknownNameError
from flashsched.schedule.ir import For, LoopKind, Stmt, rewrite_stmt
from flashsched.schedule.primitives.loops import put_around
from flashsched.schedule.schedule import Schedule
from flashsched.schedule.threads import require_sound_threads
from flashsched.te.tensor import Tensor
from flashsched.testing.checks import check_meaning, check_round_trip, whole_numbers
from flashsched.testing.programs import chain, matmul, row_sum, running_sum

X4 = te.thread_axis((0, 4), "threadIdx.x")


def recurrence(steps: int = 6, n: int = 8) -> tuple[Schedule, Tensor, Tensor, Tensor]:
    """``S[t] = 2 * S[t - 1] + X[t]`` in two stages, and ``C = S + 1``."""
    X, state = te.placeholder((steps, n), name="X"), te.placeholder((steps, n), name="state")
    first = te.compute((1, n), lambda t, i: X[t, i], name="first")
    twice = te.compute((steps, n), lambda t, i: state[t - 1, i] * 2, name="twice")
    step = te.compute((steps, n), lambda t, i: twice[t, i] + X[t, i], name="step")
    S = te.scan(first, step, state, name="S")
    C = te.compute((steps, n), lambda t, i: S[t, i] + 1, name="C")
    return te.create_schedule([C, S]), S, twice, step


def bound(s: Schedule, tensor: Tensor, threads: int) -> None:
    """Bind a loop of *threads* turns of the stage's second axis to threadIdx.x."""
    _, inner = s[tensor].split(s[tensor].op.axis[1], threads)
    s[tensor].bind(inner, "threadIdx.x")


@settings(max_examples=30, deadline=None)
@given(
    steps=st.sampled_from([1, 2, 5]), n=st.sampled_from([0, 1, 3, 8]), threads=st.integers(1, 4),
    shared=st.sampled_from(["none", "step", "both"]), both=st.booleans(),
)  # fmt: skip
def test_a_recurrence_in_one_launch(steps: int, n: int, threads: int, shared: str, both: bool) -> None:
    """Stages between the rows are copied by all threads together, or computed by each for itself."""
    s, S, twice, step = recurrence(steps, n)
    for stage in {"none": (), "step": (step,), "both": (step, twice)}[shared]:
        s[stage].set_scope("shared")
        bound(s, stage, threads)
    bound(s, S, threads)
    axes = ["threadIdx.y", "threadIdx.x"] if both else ["threadIdx.x"]
    s[S].env_threads(axes, [2, threads] if both else [threads])
    check_meaning(s, compiled=True)
    check_round_trip(s)


@settings(max_examples=20, deadline=None)
@given(m=st.sampled_from([0, 1, 4, 7]), k=st.sampled_from([0, 1, 5]), threads=st.integers(1, 4), outside=st.booleans())
def test_a_product_whose_reduction_is_outside(m: int, k: int, threads: int, outside: bool) -> None:
    A, _, C = matmul(m, 3, k)
    s = te.create_schedule(C)
    _, ii = s[C].split("i", threads)
    s[C].bind(ii, "threadIdx.x")
    if outside:
        s[C].reorder("k", "i.o", ii, "j")
    s[C].env_threads(["threadIdx.x"], [threads])
    copy = s.cache_read(A, "shared", [C])
    s[copy].compute_at(s[C], "threadIdx.x")
    _, inner = s[copy].split(s[copy].op.axis[0], threads)
    s[copy].bind(inner, "threadIdx.x")
    check_meaning(s, compiled=True)
    check_round_trip(s)


def test_the_nest_stands_in_the_threads() -> None:
    _, S, _ = running_sum(6, 4)
    s = te.create_schedule(S)
    s[S].bind("i", "threadIdx.x")
    s[S].env_threads([X4])
    assert str(s).split("\n")[-9:] == [
        "for threadIdx.x in range(4):  # threadIdx.x",
        "  for t in range(5):",
        "    for t_1 in range(1):",
        "      for i in range(4):",
        "        update(t=t + 1, i=i):",
        "          update[t, i] = S[t - 1, i] + X[t, i]",
        "    for i in range(4):  # threadIdx.x",
        "      S(t=1 + t, i=i):  # t in order",
        "        S[t, i] = update[t, i]",
    ]
    check_meaning(s, compiled=True)


def test_what_has_no_loops_stands_in_them_too() -> None:
    A, k = te.placeholder((8,), name="A"), te.reduce_axis((0, 8), name="k")
    C = te.compute((), lambda: te.sum(A[k], axis=k), name="C")
    D = te.compute((), lambda: C[()] + 1, name="D")
    s = te.create_schedule(D)
    s[D].env_threads(["threadIdx.x"], [1])
    s[C].compute_at(s[D], "threadIdx.x")
    assert str(s).startswith("for threadIdx.x in range(1):  # threadIdx.x\n  for k in range(8):")
    check_meaning(s, compiled=True)
    check_round_trip(s)


def test_threads_around_a_stage_that_is_computed_at_a_loop() -> None:
    _, P, C = chain(6, 8)
    s = te.create_schedule(C)
    s[C].bind("i0", "blockIdx.x")
    s[P].set_scope("shared")
    s[P].compute_at(s[C], "i0")
    s[P].bind("i1", "threadIdx.x")
    s[P].env_threads(["threadIdx.x"], [8])
    s[C].bind("i1", "threadIdx.x")
    check_meaning(s, compiled=True)
    check_round_trip(s)
    s[P].compute_root()
    check_meaning(s, compiled=True)
    with pytest.raises(StructureError, match=r"can't be repeated at the new place: the threads of threadIdx.x are the"):
        s[P].compute_at(s[C], "i1")


def test_what_all_threads_would_store_is_refused() -> None:
    s, S, _, step = recurrence()
    with pytest.raises(
        DependenceError, match=r"(?s)each turn of loop 'threadIdx.x' \(threadIdx.x\) stores all of 'S'.*hint: bind a lo"
    ):
        s[S].env_threads([X4])
    bound(s, S, 4)
    bound(s, step, 4)
    with pytest.raises(DependenceError, match=r"'step' writes memory that they do not share"):
        s[S].env_threads([X4])
    s[step].set_scope("shared")
    s[S].env_threads([X4])
    with pytest.raises(DependenceError, match=r"'step' writes memory that they do not share"):
        s[step].set_scope("local")
    with pytest.raises(StructureError, match=r"share the turns of loop 'i.i', and the virtual threads of 'i.o'"):
        s[S].bind("i.o", "vthread")


def test_a_reduction_that_begins_outside_is_refused() -> None:
    """Each thread would combine into the same elements again: the interpreter sees it, where it is not refused."""
    *_, C = matmul(4, 3, 5)
    s = te.create_schedule(C)
    s[C].bind("i", "threadIdx.x")
    s[C].env_threads([X4])
    with pytest.raises(DependenceError, match=r"(?s)combines into 'C', whose elements are set to the identity outside"):
        s[C].reorder("k", "threadIdx.x", "i", "j")
    with pytest.raises(DependenceError, match="whose elements are set to the identity outside of it"):
        s[C].decompose_reduction("threadIdx.x")
    for loop in ("k", "i"):
        u = te.create_schedule(C)
        u[C].bind("i", "threadIdx.x")
        u[C].decompose_reduction(loop)
        if loop == "k":
            u[C].env_threads([X4])
            check_meaning(u, compiled=True)
            continue
        with pytest.raises(DependenceError, match="whose elements are set to the identity outside of it"):
            u[C].env_threads([X4])
    t = te.create_schedule(C)
    t[C].reorder("k", "i", "j")
    t[C].bind("i", "threadIdx.x")
    state = put_around(t.state, "C", t.state.loop("C", "i"), "again", 4, LoopKind.THREAD_X)
    with pytest.raises(DependenceError, match="combines into 'C', whose"):
        require_sound_threads(state)
    program = program_of(t).with_body(state.body)
    with pytest.raises(InterpreterError, match="the threads must share one piece of work"):
        interpret(program, list(whole_numbers(t).values()))


def test_a_shared_stage_that_a_cooperative_loop_does_again_is_refused() -> None:
    """Each of the threads that share the turns would fill all of it."""
    A, P, C = chain(4, 4)
    s = te.create_schedule(C)
    s[C].bind("i0", "threadIdx.x")
    s[P].set_scope("shared")
    s[P].compute_at(s[C], "i0")
    s[P].bind("i0", "threadIdx.x")
    copy = s.cache_read(A, "shared", [P])
    with pytest.raises(DependenceError, match=r"each turn of loop 'i0' \(threadIdx.x\) stores all of 'A.shared'"):
        s[copy].compute_at(s[P], "i0")


def test_threads_without_a_turn_of_their_own_race() -> None:
    """What the check is for: the same nest, the cooperative loop taken for a plain one."""
    s, S, *_ = recurrence()
    bound(s, S, 4)
    s[S].env_threads([X4])
    program = program_of(s)

    def plain(node: Stmt) -> Stmt | None:
        inner = isinstance(node, For) and node.kind.is_thread and node.var.name != "threadIdx.x"
        return For(node.var, node.extent, node.body) if inner and isinstance(node, For) else None

    with pytest.raises(InterpreterError, match=r"race in the threadIdx.x loop 'threadIdx.x'"):
        interpret(program.with_body(rewrite_stmt(program.body, plain)), list(whole_numbers(s).values()))


def test_what_is_refused() -> None:
    _, C = row_sum(4, 0, 6)
    s = te.create_schedule(C)
    s[C].bind("i", "threadIdx.x")
    for axes, extents in (([], []), (["threadIdx.x"] * 2, [4, 4]), (["threadIdx.x"], []), (["threadIdx.x"], [4, 4])):
        with pytest.raises(ArgumentError, match="axes must be named once, each with its number of threads"):
            s[C].env_threads(axes, extents)
    with pytest.raises(ArgumentError, match="axes must be named once"):
        s[C].env_threads([te.thread_axis("threadIdx.x")])
    with pytest.raises(ArgumentError, match=r"the extent of threadIdx.x must be at least 1, got 0"):
        s[C].env_threads(["threadIdx.x"], [0])
    with pytest.raises(UnknownNameError, match=r"(?s)no thread axis 'threadIdx.w'.*did you mean threadIdx"):
        s[C].env_threads(["threadIdx.w"], [4])
    with pytest.raises(StructureError, match=r"(?s)blockIdx.x is an axis of blocks, and blocks do not wait.*hint: bin"):
        s[C].env_threads(["blockIdx.x"], [4])
    with pytest.raises(StructureError, match=r"loop 'i' is bound to threadIdx.x with 4 turns, and 8 threads are to be"):
        s[C].env_threads(["threadIdx.x"], [8])
    s[C].env_threads([X4])
    with pytest.raises(StructureError, match=r"the threads of threadIdx.x are there already"):
        s[C].env_threads([X4])
    with pytest.raises(StructureError, match=r"is bound to threadIdx.x with 4 turns, and 'k' has 6"):
        s[C].bind("k", "threadIdx.x")
    E = te.extern((4,), [C], lambda c, e: e.__setitem__(slice(None), c), dtype="float32", name="E")
    u = te.create_schedule(E)
    with pytest.raises(
        StructureError, match="'E' is an extern stage: its function fills whole arrays, so it can't be "
    ):
        u[E].env_threads(["threadIdx.x"], [1])
