"""bind: loops become the blocks and threads of a GPU, as the interpreter runs them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashsched import te
from flashsched.errors import AxisError, DependenceError, ScheduleError, StructureError
from flashsched.schedule.ir import LoopKind
from flashsched.schedule.primitives.loops import set_kind
from flashsched.schedule.schedule import Schedule
from flashsched.schedule.threads import require_sound_threads
from flashsched.testing.checks import check_meaning, check_round_trip
from flashsched.testing.programs import chain, matmul, pointwise, row_sum


def tiled(m: int, n: int, k: int, tile: int, step: int) -> tuple[Schedule, te.Tensor]:
    """A matmul of one block a tile, whose threads copy what they need into shared memory together."""
    A, B, C = matmul(m, n, k)
    s = te.create_schedule(C)
    CL = s.cache_write(C, "local")
    AS, BS = s.cache_read(A, "shared", [CL]), s.cache_read(B, "shared", [CL])
    by, bx, ty, tx = s[C].tile(*s[C].op.axis, tile, tile)
    for loop, axis in ((by, "blockIdx.y"), (bx, "blockIdx.x"), (ty, "threadIdx.y"), (tx, "threadIdx.x")):
        s[C].bind(loop, axis)
    s[CL].compute_at(s[C], tx)
    ko, ki = s[CL].split(s[CL].op.reduce_axis[0], step)
    s[CL].reorder(ko, ki, *s[CL].op.axis)
    for copy in (AS, BS):
        s[copy].compute_at(s[CL], ko)
        both = s[copy].fuse(*s[copy].op.axis)
        _, t = s[copy].split(both, tile * tile)
        y, x = s[copy].split(t, tile)
        s[copy].bind(y, "threadIdx.y")
        s[copy].bind(x, "threadIdx.x")
    return s, C


@settings(max_examples=10, deadline=None)
@given(m=st.integers(1, 7), n=st.integers(1, 7), k=st.integers(0, 5), tile=st.integers(2, 4), step=st.integers(1, 4))
def test_a_tiled_matmul_with_cooperative_copies(m: int, n: int, k: int, tile: int, step: int) -> None:
    s, _ = tiled(m, n, k, tile, step)
    check_meaning(s)
    check_round_trip(s)


def test_a_bound_loop_says_so() -> None:
    *_, C = matmul(4, 4, 4)
    s = te.create_schedule(C)
    s[C].bind("i", "blockIdx.x")
    s[C].bind("j", "threadIdx.x")
    assert str(s).split("\n")[:2] == ["for i in range(4):  # blockIdx.x", "  for j in range(4):  # threadIdx.x"]
    check_round_trip(s)


def test_bind_refuses() -> None:
    *_, C = matmul(4, 6, 4)
    s = te.create_schedule(C)
    with pytest.raises(ScheduleError, match=r"(?s)no thread axis 'threadIdx.w'.*did you mean threadIdx"):
        s[C].bind("i", "threadIdx.w")
    with pytest.raises(ScheduleError, match="loop 'k' runs over a reduction"):
        s[C].bind("k", "blockIdx.x")
    with pytest.raises(ScheduleError, match="no loop named 'q'"):
        s[C].bind("q", "threadIdx.x")
    s[C].bind("i", "threadIdx.x")
    with pytest.raises(ScheduleError, match=r"loop 'i' is bound to threadIdx.x, and only a serial loop can be bound"):
        s[C].bind("i", "threadIdx.y")
    with pytest.raises(ScheduleError, match=r"loop 'i' is bound to threadIdx.x with 4 turns, and 'j' has 6"):
        s[C].bind("j", "threadIdx.x")
    with pytest.raises(
        ScheduleError, match=r"loop 'j' is bound to blockIdx.x, and stands inside 'i', which is bound to"
    ):
        s[C].bind("j", "blockIdx.x")


def test_blocks_and_threads_fit_together_whatever_the_step() -> None:
    *_, C = matmul(4, 4, 4)
    s = te.create_schedule(C)
    s[C].bind("i", "blockIdx.x")
    s[C].bind("j", "threadIdx.x")
    with pytest.raises(ScheduleError, match=r"loop 'i' is bound to blockIdx.x, and stands inside 'j'"):
        s[C].reorder("j", "i")
    t = te.create_schedule(C)
    t[C].bind("i", "blockIdx.x")
    with pytest.raises(ScheduleError, match=r"loop 'j' is bound to blockIdx.x, and stands inside 'i'"):
        t[C].bind("j", "blockIdx.x")
    u = te.create_schedule(C)
    u[C].parallel("i")
    with pytest.raises(ScheduleError, match=r"loop 'j' is bound to threadIdx.x, and 'i', around or inside it, is para"):
        u[C].bind("j", "threadIdx.x")
    v = te.create_schedule(C)
    v[C].bind("j", "threadIdx.x")
    with pytest.raises(ScheduleError, match=r"loop 'j' around or inside 'i' is threadIdx.x already"):
        v[C].parallel("i")


def test_threads_share_turns_only_of_one_piece_of_work_in_shared_memory() -> None:
    *_, C = matmul(4, 4, 4)
    s = te.create_schedule(C)
    s[C].bind("i", "threadIdx.x")
    with pytest.raises(
        ScheduleError, match="so the threads share its turns, and each turn of 'i' needs another part of 'C'"
    ):
        s[C].bind("j", "threadIdx.x")
    _, P, D = chain(4, 4)
    t = te.create_schedule(D)
    t[D].bind("i0", "threadIdx.x")
    t[P].compute_at(t[D], "i0")
    with pytest.raises(ScheduleError, match=r"(?s)'P' writes memory that they do not share.*set_scope\('shared'\)"):
        t[P].bind("i1", "threadIdx.x")
    t[P].set_scope("shared")
    t[P].bind("i1", "threadIdx.x")
    check_meaning(t)
    check_round_trip(t)
    with pytest.raises(ScheduleError, match="'P' writes memory that they do not share"):
        t[P].set_scope("local")


def test_a_shared_stage_that_still_serves_one_thread_is_seen() -> None:
    """`bind` makes such a stage anew; were it forgotten, the nest would be refused as a whole."""
    _, P, C = chain(4, 4)
    s = te.create_schedule(C)
    s[P].set_scope("shared")
    s[P].compute_at(s[C], "i0")
    s[P].bind("i1", "threadIdx.x")
    forgotten = set_kind(s.state, s.state.loop("C", "i0"), LoopKind.THREAD_X)
    with pytest.raises(ScheduleError, match="each turn of 'i0' needs another part of 'P'"):
        require_sound_threads(forgotten)
    s[C].bind("i0", "threadIdx.x")
    check_meaning(s)


def test_axes_as_classic_programs_name_them() -> None:
    _, C = pointwise(4, 6)
    s = te.create_schedule(C)
    s[C].bind("i0", te.thread_axis("blockIdx.x"))
    with pytest.raises(StructureError, match=r"(?s)threadIdx\.x is to have 8, and loop 'i1' has 6 turns.*split"):
        s[C].bind("i1", te.thread_axis((0, 8), "threadIdx.x"))
    s[C].bind("i1", te.thread_axis((0, 6), "threadIdx.x"))
    check_meaning(s, compiled=True)
    check_round_trip(s)
    for wrong in ("threadIdx.w", "vthread.x"):
        with pytest.raises(AxisError, match=f"'{wrong}' is no axis of a GPU"):
            te.thread_axis(wrong)
    with pytest.raises(AxisError, match=r"runs over \(1, 4\), and must run from 0"):
        te.thread_axis((1, 4), "threadIdx.x")


def test_a_reduction_across_threads_is_a_reduction_of_partial_sums() -> None:
    """The tutorials' way: rfactor makes the partial sums, a thread each; another stage adds them up."""
    _, C = row_sum(5, 0, 12)
    s = te.create_schedule(C)
    with pytest.raises(DependenceError, match=r"(?s)runs over a reduction.*hint: .*rfactor"):
        s[C].bind(s[C].op.reduce_axis[0], te.thread_axis("blockIdx.x"))
    _, ki = s[C].split(s[C].op.reduce_axis[0], 4)
    part = s.rfactor(C, ki)
    s[part].bind(s[part].op.axis[0], te.thread_axis((0, 4), "threadIdx.x"))
    s[C].bind(s[C].op.axis[0], te.thread_axis("blockIdx.x"))
    check_meaning(s, compiled=True)


def test_an_output_that_nobody_asked_for_is_not_shared_by_threads() -> None:
    """Found by the fuzzer: of a reduction to pairs only one half is the caller's, and the other each thread's own."""
    A = te.placeholder((2, 4, 1), "float32", name="A")
    k = te.reduce_axis((0, 1), name="k")
    most, least = te.compute((2, 4, 1), lambda h, i, j: te.argmax(A[h, i, j] + k, axis=k), name="C")
    for wanted in (least, most):
        s = te.create_schedule(wanted)
        h, i, j = s[most].op.axis
        s[most].fuse(h, i)  # from here on, j and k are 0
        s[most].bind(j, "threadIdx.z")
        with pytest.raises(DependenceError, match="writes memory that they do not share"):
            s[most].bind(k, "threadIdx.z")
