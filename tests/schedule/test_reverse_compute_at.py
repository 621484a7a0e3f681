"""reverse_compute_at: a consumer is computed inside what it reads, each of its points once."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashsched import te
from flashsched.codegen.lower import lower
from flashsched.errors import ArgumentError, DependenceError, ScheduleError, StructureError
from flashsched.schedule.schedule import Schedule
from flashsched.te.tensor import Tensor
from flashsched.testing.checks import check_meaning, check_round_trip
from flashsched.testing.programs import blur, chain, diamond, matmul, row_sum

TAIL = st.sampled_from(["guard", "cut"])


def product_and_epilogue(m: int, n: int, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """A product, a bias, and the sum of both, at least 0."""
    *_, C = matmul(m, n, k)
    bias = te.placeholder((n,), name="bias")
    return C, bias, te.compute((m, n), lambda i, j: te.relu(C[i, j] + bias[j]), name="R")


@settings(max_examples=40, deadline=None)
@given(
    data=st.data(), m=st.integers(0, 7), n=st.integers(0, 9), k=st.integers(0, 4), x=st.integers(1, 4),
    y=st.integers(1, 5), tail=TAIL,
)  # fmt: skip
def test_an_epilogue_follows_a_tile(data: st.DataObject, m: int, n: int, k: int, x: int, y: int, tail: str) -> None:
    C, _, R = product_and_epilogue(m, n, k)
    s = te.create_schedule(R)
    io, jo, ii, ji = s[C].tile(*C.op.axis, x, y, tail=tail)
    s[C].reorder(io, jo, *C.op.reduce_axis, ii, ji)
    s[C].vectorize(ji)
    s[C].parallel(io) if data.draw(st.booleans()) else None
    s[R].reverse_compute_at(s[C], data.draw(st.sampled_from([io, jo])))
    s[R].vectorize(s[R].op.axis[1])
    s[R].split("i", 2, tail=tail)
    if data.draw(st.booleans()):
        s[C].split(jo, 2)
    check_meaning(s, compiled=True)
    check_round_trip(s)


@settings(max_examples=25, deadline=None)
@given(data=st.data(), n=st.integers(0, 6), m=st.integers(1, 5), swap=st.booleans())
def test_a_reader_of_another_rank_and_order(data: st.DataObject, n: int, m: int, swap: bool) -> None:
    _, P, _ = chain(n, m)
    wide = te.compute((m, 3, n), lambda j, x, i: P[i, j] * (x.astype("float32") + 1), name="W")
    total = te.reduce_axis((0, m), name="t")
    rows = te.compute((n,), lambda i: te.sum(P[i, total], axis=total), name="S")
    s = te.create_schedule([wide, rows])
    if swap:
        s[P].reorder("i1", "i0")
    loop = data.draw(st.sampled_from(s[P].loops))
    s[wide].reverse_compute_at(s[P], loop)
    if not swap and loop.name == "i0":
        s[rows].reverse_compute_at(s[P], loop)
    else:
        with pytest.raises(DependenceError, match=r"combines over 't'|does not read") if m > 1 else nullcontext():
            s[rows].reverse_compute_at(s[P], loop)
    check_meaning(s, compiled=True)
    check_round_trip(s)


@settings(max_examples=25, deadline=None)
@given(data=st.data(), n=st.integers(1, 13), factor=st.integers(1, 5), tail=TAIL)
def test_a_chain_of_followers(data: st.DataObject, n: int, factor: int, tail: str) -> None:
    _, P, C = chain(n)
    D = te.compute((n,), lambda i: C[i] - 1, name="D")
    s = te.create_schedule(D)
    outer, inner = s[P].split("i", factor, tail=tail)
    at = data.draw(st.sampled_from([outer, inner]))
    s[C].reverse_compute_at(s[P], at)
    if data.draw(st.booleans()):
        s[D].reverse_compute_at(s[C], "i")
    else:
        with pytest.raises(ScheduleError, match="does not read"):
            s[D].reverse_compute_at(s[P], at)
    s[D].split("i", 2)
    check_meaning(s, compiled=True)
    check_round_trip(s)
    for stage in (D, C):
        s[stage].compute_root()
    check_meaning(s)


def test_a_tile_is_as_small_as_its_epilogue_needs() -> None:
    C, _, R = product_and_epilogue(8, 12, 5)
    s = te.create_schedule(R)
    _, jo, *_ = s[C].tile(*C.op.axis, 4, 6)
    s[C].set_scope("local")
    s[R].reverse_compute_at(s[C], jo)
    assert str(s) == (
        "for i.o in range(2):\n"
        "  for j.o in range(2):\n"
        "    for i.i in range(4):\n"
        "      for j.i in range(6):\n"
        "        for k in range(5):\n"
        "          C(i=i.o * 4 + i.i, j=j.o * 6 + j.i, k=k):  # reduces k\n"
        "            init C[i, j] = 0.0\n"
        "            C[i, j] = C[i, j] + A[i, k] * B[k, j]\n"
        "    for i in range(4):\n"
        "      for j in range(6):\n"
        "        R(i=i.o * 4 + i, j=j.o * 6 + j):\n"
        "          R[i, j] = max(C[i, j] + bias[j], 0.0)"
    )
    assert "C = alloc(float32[4, 6], 'local')" in str(lower(s))


def test_moving_the_producer_and_its_loops_keeps_the_follower_right() -> None:
    C, _, R = product_and_epilogue(6, 8, 5)
    s = te.create_schedule(R)
    io, jo, ii, ji = s[C].tile(*C.op.axis, 2, 4)
    s[R].reverse_compute_at(s[C], jo)
    s[C].reorder(jo, io)
    check_meaning(s)
    with pytest.raises(DependenceError, match=r"loop 'k' runs over the reduction of 'C'"):
        s[C].reorder("k", jo)
    copy = s.cache_read(C.op.inputs[0], "local", [C])
    s[copy].compute_at(s[C], io)
    s[C].fuse(ii, ji)
    s[C].compute_root()
    check_meaning(s, compiled=True)
    check_round_trip(s)
    s[R].compute_root()
    assert str(s).endswith("R[i, j] = max(C[i, j] + bias[j], 0.0)")
    check_meaning(s)


def test_what_another_stage_computes_for_it_comes_first() -> None:
    _, P, L, R, C = diamond(8)  # C reads L and R
    s = te.create_schedule(C)
    outer, _ = s[L].split("i", 4)
    with pytest.raises(DependenceError, match="'C' reads 'R', and not all that it reads is computed before"):
        s[C].reverse_compute_at(s[L], outer)
    outer, _ = s[R].split("i", 4)
    s[C].reverse_compute_at(s[R], outer)
    check_meaning(s, compiled=True)
    s[L].compute_at(s[C], "i")
    s[P].compute_at(s[R], outer)
    check_meaning(s, compiled=True)
    check_round_trip(s)


def refused(s: Schedule, reader: Tensor, producer: Tensor, loop: object, says: str) -> None:
    before = str(s)
    with pytest.raises(DependenceError, match=says):
        s[reader].reverse_compute_at(s[producer], loop)  # type: ignore[arg-type]
    assert str(s) == before


def test_reverse_compute_at_refuses() -> None:
    C, _, R = product_and_epilogue(6, 8, 5)
    s = te.create_schedule(R)
    with pytest.raises(ArgumentError, match="'C' does not read 'R', and can't follow it"):
        s[C].reverse_compute_at(s[R], "i")
    with pytest.raises(ArgumentError, match="'R' does not read 'R'"):
        s[R].reverse_compute_at(s[R], "i")
    s[C].reorder("i", "k", "j")
    refused(s, R, C, "k", r"(?s)loop 'k' runs over the reduction of 'C'.*reorder the reduction inside")
    s[C].vectorize(s[C].split("j", 4)[1]) if False else s[C].reorder("i", "k", "j")
    s[C].vectorize("j")
    with pytest.raises(StructureError, match="loop 'j' is vectorized"):
        s[R].reverse_compute_at(s[C], "j")

    t = te.create_schedule(R)
    t[C].compute_at(t[R], "i")
    with pytest.raises(StructureError, match="'C' is computed inside 'R', and can't hold it"):
        t[R].reverse_compute_at(t[C], "j")

    u = te.create_schedule(R)
    outer, _ = u[C].split(u[C].fuse("i", "j"), 6)
    refused(u, R, C, outer, r"(?s)parts of 'C'.*can't be told apart.*fused and then split")

    _, P, B = blur(8)
    v = te.create_schedule(B)
    refused(v, B, P, "i", r"(?s)'C' does not read 'P' element by element in dimension 0.*compute_at")


def test_a_producer_that_is_computed_for_others_does_not_finish_all() -> None:
    _, P, C = chain(6)
    D = te.compute((6,), lambda i: P[i] - C[i], name="D")
    s = te.create_schedule(D)
    s[C].reverse_compute_at(s[P], "i")
    with pytest.raises(ScheduleError, match="'C' reads 'P' outside loop 'i' of 'D'"):
        s[P].compute_at(s[D], "i")
    check_meaning(s, compiled=True)


def test_a_later_move_may_not_bring_a_reader_in_front() -> None:
    _, P, C = chain(6)
    D = te.compute((6,), lambda i: C[i] + P[i], name="D")
    s = te.create_schedule(D)
    s[C].reverse_compute_at(s[P], "i")
    with pytest.raises(DependenceError, match="reads 'C', and not all that it reads is computed before"):
        s[D].reverse_compute_at(s[P], "i")
    check_meaning(s)


def test_threads_that_share_memory() -> None:
    _, P = row_sum(4, 0, 6)
    C = te.compute((4,), lambda i: P[i] + 1, name="R")
    s = te.create_schedule(C)
    s[P].bind("i", "threadIdx.x")
    s[P].set_scope("shared")
    refused(s, C, P, "i", "GPU threads share what 'C' and 'R' write")


def test_a_copy_is_not_made_before_what_it_copies() -> None:
    _, P, C = chain(6)
    s = te.create_schedule(C)
    s[C].reverse_compute_at(s[P], "i")
    with pytest.raises(DependenceError, match=r"'P.local' reads 'P', and not all that it reads is computed before"):
        s.cache_read(P, "local", [C])
    s[C].compute_root()
    s.cache_read(P, "local", [C])
    check_meaning(s)


def test_a_follower_may_be_inlined_or_become_part_of_its_producer() -> None:
    _, P, C = chain(6)
    D = te.compute((6,), lambda i: C[i] - 1, name="D")
    for inline in (lambda s: s[C].compute_inline(), lambda s: s[C].reverse_compute_inline()):
        s = te.create_schedule(D)
        s[C].reverse_compute_at(s[P], "i")
        inline(s)
        s[D].reverse_compute_at(s[P], "i")
        check_meaning(s, compiled=True)
        check_round_trip(s)


def test_a_loop_without_turns_holds_nothing_that_must_be_computed() -> None:
    _, C = row_sum(3, 0, 0)
    s = te.create_schedule(C)
    part = s.rfactor(C, "k")
    with pytest.raises(DependenceError, match="loop 'k' has no turns, and 'C' would never be computed"):
        s[C].reverse_compute_at(s[part], "k")
    check_meaning(s, compiled=True)
