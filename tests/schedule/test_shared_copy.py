"""Stages in shared memory: what a block's threads read together is copied by them together."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from flashsched import te
from flashsched.codegen.build import build
from flashsched.codegen.interpreter import interpret
from flashsched.codegen.lower import lower, program_of
from flashsched.schedule.ir import Alloc, For, walk_stmt
from flashsched.schedule.schedule import Schedule

M, N, K = 12, 10, 6


def staged(order: tuple[str, ...]) -> tuple[Schedule, list[te.Tensor]]:
    """A product whose A is staged in shared memory, with the steps that may come in any order taken in *order*."""
    A, B = te.placeholder((M, K), name="A"), te.placeholder((K, N), name="B")
    k = te.reduce_axis((0, K), name="k")
    C = te.compute((M, N), lambda i, j: te.sum(A[i, k] * B[k, j], axis=k), name="C")
    s = te.create_schedule(C)
    near = s.cache_write(C, "local")
    copy = s.cache_read(A, "shared", [near])
    bi, bj, ti, tj = s[C].tile(*s[C].op.axis, 4, 5)
    s[near].compute_at(s[C], tj)
    ko, _ = s[near].split(s[near].op.reduce_axis[0], 2)
    s[near].reorder(ko, *s[near].op.axis)
    steps = {
        "attach": lambda: s[copy].compute_at(s[near], ko),
        "blocks": lambda: (s[C].bind(bi, "blockIdx.y"), s[C].bind(bj, "blockIdx.x")),
        "threads": lambda: (s[C].bind(ti, "threadIdx.y"), s[C].bind(tj, "threadIdx.x")),
    }
    for step in order:
        steps[step]()
    row = s[copy].op.axis[0]
    s[copy].bind(row, "threadIdx.y")
    return s, [A, B, C]


@pytest.mark.parametrize("order", list(itertools.permutations(("attach", "blocks", "threads"))), ids="-".join)
def test_threads_share_a_copy_in_whatever_order_the_steps_come(order: tuple[str, ...]) -> None:
    s, args = staged(order)
    assert "A.shared(i0=i.o * 4 + i0, i1=k.o * 2 + i1)" in str(s)  # all four rows of the block, not one thread's
    rng = np.random.default_rng(0)
    a, b = rng.random((M, K), dtype="float32"), rng.random((K, N), dtype="float32")
    for program in (program_of(s, args), lower(s, args)):
        np.testing.assert_allclose(interpret(program, [a, b])[0], a @ b, rtol=1e-5)
    np.testing.assert_allclose(build(s, args)(a, b), a @ b, rtol=1e-5)


def test_shared_memory_is_allocated_once_for_a_block() -> None:
    s, args = staged(("attach", "blocks", "threads"))
    body = lower(s, args).body
    held = [node for node in walk_stmt(body) if isinstance(node, Alloc) and node.buffer.scope == "shared"]
    assert [node.buffer.shape for node in held] == [(4, 2)]
    assert any(isinstance(node, For) and node.kind.is_thread for node in walk_stmt(held[0].body))
    outside = {id(node) for loop in walk_stmt(body) if isinstance(loop, For) and loop.kind.is_thread
               for node in walk_stmt(loop)}  # fmt: skip
    assert id(held[0]) not in outside


def test_what_threads_do_not_fill_together_is_their_own() -> None:
    A, B = te.placeholder((M, K), name="A"), te.placeholder((K, N), name="B")
    k = te.reduce_axis((0, K), name="k")
    C = te.compute((M, N), lambda i, j: te.sum(A[i, k] * B[k, j], axis=k), name="C")
    s = te.create_schedule(C)
    copy = s.cache_read(B, "shared", [C])
    i, j = s[C].op.axis
    s[C].bind(i, "threadIdx.x")
    s[copy].compute_at(s[C], j)  # a column, copied by each thread alone
    rng = np.random.default_rng(0)
    a, b = rng.random((M, K), dtype="float32"), rng.random((K, N), dtype="float32")
    for program in (program_of(s, [A, B, C]), lower(s, [A, B, C])):
        np.testing.assert_allclose(interpret(program, [a, b])[0], a @ b, rtol=1e-5)
