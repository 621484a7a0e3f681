"""bind to "vthread": virtual threads, which one thread runs interleaved."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashsched import te
from flashsched.codegen.analysis import nest_works
from flashsched.codegen.lower import lower
from flashsched.errors import DependenceError, LimitError, StructureError
from flashsched.hw.registry import devices
from flashsched.schedule.schedule import Schedule
from flashsched.testing.checks import check_meaning, check_round_trip
from flashsched.testing.programs import chain, matmul


def classic(m: int, n: int, k: int, tile: int, step: int) -> Schedule:
    """The classic product on a GPU: blocks, virtual threads, threads, and shared memory that each of them fills."""
    A, _, C = matmul(m, n, k)
    s = te.create_schedule(C)
    CL = s.cache_write(C, "local")
    AS = s.cache_read(A, "shared", [CL])
    block, rest = s[C].split("i", 2 * tile)
    virtual, thread = s[C].split(rest, tile)
    s[C].bind(block, te.thread_axis("blockIdx.x"))
    s[C].bind(virtual, te.thread_axis((0, 2), "vthread"))
    s[C].bind(thread, te.thread_axis("threadIdx.x"))
    s[CL].compute_at(s[C], thread)
    ko, ki = s[CL].split(s[CL].op.reduce_axis[0], step)
    s[CL].reorder(ko, ki, *s[CL].op.axis)
    s[AS].compute_at(s[CL], ko)
    _, shared = s[AS].split(s[AS].fuse(*s[AS].op.axis), tile)
    s[AS].bind(shared, te.thread_axis("threadIdx.x"))
    return s


@settings(max_examples=10, deadline=None)
@given(m=st.integers(1, 9), n=st.integers(1, 3), k=st.integers(0, 5), tile=st.integers(1, 3), step=st.integers(1, 3))
def test_the_classic_product(m: int, n: int, k: int, tile: int, step: int) -> None:
    s = classic(m, n, k, tile, step)
    check_meaning(s, compiled=True)
    check_round_trip(s)


@settings(max_examples=10, deadline=None)
@given(m=st.integers(0, 7), n=st.integers(0, 7), k=st.integers(0, 3), factor=st.integers(1, 3), inside=st.booleans())
def test_virtual_threads_on_a_cpu(m: int, n: int, k: int, factor: int, inside: bool) -> None:
    *_, C = matmul(m, n, k)
    s = te.create_schedule(C)
    i, _ = s[C].split("i", factor)
    j, ji = s[C].split("j", nparts=factor)
    s[C].reorder(j, i) if not inside else s[C].reorder("k", j, i)
    s[C].bind(j, "vthread")
    s[C].unroll(ji) if not inside else s[C].parallel(i)
    check_meaning(s, compiled=True)
    check_round_trip(s)


def test_the_nest_and_what_is_made_of_it() -> None:
    _, P, C = chain(2, 8)
    s = te.create_schedule(C)
    s[C].bind("i0", "vthread")
    s[P].compute_at(s[C], "i0")
    assert str(s).splitlines()[0] == "for i0 in range(2):  # vthread"
    assert [line.strip() for line in str(lower(s)).splitlines()[-7:]] == [
        "P = alloc(float32[2, 1, 8], 'global')",
        "for i1 in range(8):",
        "P[0, 0, i1] = A[0, i1] + 1.0",
        "P[1, 0, i1] = A[1, i1] + 1.0",
        "for i1 in range(8):",
        "C[0, i1] = P[0, 0, i1] * 2.0",
        "C[1, i1] = P[1, 0, i1] * 2.0",
    ]
    check_meaning(s, compiled=True)


def test_virtual_threads_refuse() -> None:
    *_, C = matmul(4, 2048, 4)
    s = te.create_schedule(C)
    with pytest.raises(DependenceError, match=r"'k' runs over a reduction"):
        s[C].bind("k", "vthread")
    with pytest.raises(LimitError, match=r"(?s)'j' has 2048 turns, and at most 1024.*inner loop"):
        s[C].bind("j", "vthread")
    s[C].bind("i", "vthread")
    with pytest.raises(StructureError, match="'i' is made of virtual threads, and only a serial loop"):
        s[C].parallel("i")
    with pytest.raises(StructureError, match="are virtual threads, which are written out inside, and leave no parts"):
        s[C].peel("i", front=1)
    t = te.create_schedule(C)
    t[C].peel("i", front=1)
    with pytest.raises(StructureError, match="peel is at loop 'i', whose turns are virtual threads"):
        t[C].bind("i", "vthread")
    n = te.var("n")
    A = te.placeholder((n,), name="A")
    D = te.compute((n,), lambda i: A[i] + 1, name="D")
    u = te.create_schedule(D)
    with pytest.raises(StructureError, match=r"(?s)'i' has n turns.*split it by a number"):
        u[D].bind("i", "vthread")


def test_virtual_threads_inside_of_threads_share_no_memory_that_those_fill_together() -> None:
    A, _, C = matmul(4, 4, 4)
    s = te.create_schedule(C)
    AS = s.cache_read(A, "shared", [C])
    s[C].bind("i", "threadIdx.x")
    s[AS].compute_at(s[C], "j")
    s[AS].bind(s[AS].op.axis[0], "threadIdx.x")
    with pytest.raises(
        StructureError,
        match=r"(?s)the virtual threads of 'j', between them, would each need a copy.*reorder 'j' outside",
    ):
        s[C].bind("j", "vthread")
    s[C].reorder("j", "i")
    s[AS].compute_at(s[C], "i")
    s[C].bind("j", "vthread")
    check_meaning(s, compiled=True)


def test_a_gpu_keeps_the_tiles_of_all_virtual_threads() -> None:
    """Two tiles of sums, in registers, for one of each step's loads of the other operand."""

    def asked(virtual: bool):  # type: ignore[no-untyped-def]
        *_, C = matmul(64, 64, 64)
        s = te.create_schedule(C)
        CL = s.cache_write(C, "local")
        v, i = s[C].split("i", nparts=2)
        jo, ji = s[C].split("j", 8)
        s[C].reorder(v, i, jo, ji)
        s[C].bind(i, "threadIdx.x")
        if virtual:
            s[C].bind(v, "vthread")
        s[C].unroll(ji)
        s[CL].compute_at(s[C], jo)
        s[CL].reorder("k", *s[CL].op.axis)
        s[CL].unroll(s[CL].op.axis[1])
        (work,) = nest_works(s, devices["a100-sim"])
        return work

    twice, once = asked(virtual=True), asked(virtual=False)
    assert twice.useful_flops == once.useful_flops
    assert twice.accumulators == 2 * once.accumulators == 16
    assert twice.registers_per_thread > once.registers_per_thread
    assert twice.l2_read_bytes < once.l2_read_bytes
