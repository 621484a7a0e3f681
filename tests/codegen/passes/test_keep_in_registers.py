"""keep_in_registers: memory in the scope "register" has constant indices, or lowering says which is none."""

from __future__ import annotations

import platform
import re

import pytest

from flashsched import te
from flashsched.codegen.build import build
from flashsched.codegen.lower import lower
from flashsched.errors import LoweringError
from flashsched.schedule.schedule import Schedule
from flashsched.testing.checks import check_meaning, check_round_trip
from flashsched.testing.programs import chain, matmul


def tile(scope: str = "register", *, unroll: bool = True, m: int = 16) -> Schedule:
    """A product whose sums, 4 × 16 at a time, are kept in *scope*."""
    *_, C = matmul(m, 32, 24)
    s = te.create_schedule(C)
    sums = s[s.cache_write(C, scope)]
    _, jo, ii, ji = s[C].tile("i", "j", 4, 16)
    s[C].vectorize(ji)
    s[C].unroll(ii)
    sums.compute_at(s[C], jo)
    i, j = sums.op.axis
    sums.reorder("k", i, j)
    sums.vectorize(j)
    if unroll:
        sums.unroll(i)
    return s


def test_a_tile_in_registers() -> None:
    check_meaning(tile(), compiled=True)
    check_round_trip(tile())


def to_the_stack(s: Schedule) -> list[str]:
    """The instructions that store a vector to the stack."""
    stores = re.compile(r"v?mov[au]p[sd]\s+%[xyz]mm\d+, -?\d*\(%r[sb]p\b")
    return [line for line in build(s).asm().splitlines() if stores.search(line)]


@pytest.mark.skipif(platform.machine() != "x86_64", reason="reads assembly of x86")
def test_the_tile_is_never_stored_to_the_stack() -> None:
    assert to_the_stack(tile()) == []
    assert to_the_stack(tile("local", unroll=False)) != []  # nor would it be found where it is


def test_an_index_that_is_no_constant_is_named() -> None:
    with pytest.raises(LoweringError, match=r"(?s)'?C.register.* index .*loop 'i\S*' is not unrolled.*unroll\('i"):
        lower(tile(unroll=False))
    lower(tile("local", unroll=False))  # best effort


def test_other_ways_to_have_an_address() -> None:
    _, P, C = chain(4, 4)
    s = te.create_schedule(C)
    s[P].set_scope("register")
    s[C].parallel("i0")
    for loop in ("i0", "i1"):
        s[P].unroll(loop)
    s[C].unroll("i1")
    with pytest.raises(LoweringError, match=r"(?s)turns of the parallel loop 'i0' share it.*compute it inside"):
        lower(s)
    s[P].compute_at(s[C], "i0")
    lower(s)
    check_meaning(s, compiled=True)
    n = te.var("n")
    A = te.placeholder((n,), name="A")
    Q = te.compute((n,), lambda i: A[i] + 1, name="Q")
    D = te.compute((n,), lambda i: Q[i] * 2, name="D")
    t = te.create_schedule(D)
    t[Q].set_scope("register")
    with pytest.raises(LoweringError, match=r"(?s)Q is to live in registers, and its shape \[n\]"):
        lower(t)


def test_a_thread_of_a_gpu_keeps_its_own() -> None:
    """On a CPU, many threads' registers are memory; the GPU's nest has them."""
    *_, C = matmul(8, 8, 8)
    s = te.create_schedule(C)
    sums = s[s.cache_write(C, "register")]
    s[C].bind("i", "threadIdx.x")
    v, _ = s[C].split("j", 4)
    s[C].bind(v, "vthread")
    s[C].unroll(_)
    sums.compute_at(s[C], v)
    for axis in sums.op.axis:
        sums.unroll(axis)
    lower(s)
    check_meaning(s, compiled=True)
