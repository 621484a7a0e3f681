"""allocate: memory where it is used, as large as what is used there."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashsched import te
from flashsched.codegen.interpreter import InterpreterError, interpret_nest
from flashsched.codegen.lower import PASSES, lower
from flashsched.hw import devices
from flashsched.schedule import Schedule, StageView
from flashsched.schedule.ir import Alloc, rewrite_stmt, walk_stmt
from flashsched.te.sizes import numbers
from flashsched.testing.checks import check_meaning
from flashsched.testing.programs import argmax, blur, chain, diamond, matmul
from flashsched.tune.search.knobs import FirstKnobs
from flashsched.tune.task import Task


def allocations(s: Schedule) -> dict[str, tuple[int, ...]]:
    return {node.buffer.name: node.buffer.shape for node in walk_stmt(lower(s).body) if isinstance(node, Alloc)}


def require_all_written(s: Schedule) -> None:
    """Fail, as the interpreter does, if lowering allocates an element that no turn of the nest writes."""
    program = lower(s, passes=PASSES[: [name for name, _ in PASSES].index("allocate") + 1])
    made = [node.buffer for node in walk_stmt(program.body) if isinstance(node, Alloc)]
    # memory that outlives all loops tells in the end what was ever written
    body = rewrite_stmt(program.body, lambda node: node.body if isinstance(node, Alloc) else None)
    inputs = {buffer: np.zeros(numbers(buffer.shape, buffer.name), buffer.dtype) for buffer in program.params}
    interpret_nest(body, inputs, made, check_races=False)


def test_a_stage_at_a_loop_keeps_one_turns_part() -> None:
    _, P, C = chain(6, 8)
    s = te.create_schedule(C)
    assert allocations(s) == {"P": (6, 8)}
    s[P].compute_at(s[C], "i0")
    assert allocations(s) == {"P": (1, 8)}
    s[P].compute_at(s[C], s[C].split("i1", 3)[0])
    assert allocations(s) == {"P": (1, 3)}


def test_a_stencils_part_has_its_border() -> None:
    _, P, C = blur(64, 2)
    s = te.create_schedule(C)
    s[P].compute_at(s[C], s[C].split("i", 8)[0])
    assert allocations(s) == {"P": (12,)}


def test_two_readers_share_one_part() -> None:
    _, P, L, R, C = diamond(32)
    s = te.create_schedule(C)
    outer = s[C].split("i", 8)[0]
    s[R].compute_at(s[C], outer)
    s[L].compute_at(s[C], outer)
    s[P].compute_at(s[C], outer)
    assert allocations(s) == {"L": (8,), "R": (8,), "P": (11,)}
    check_meaning(s, compiled=True)


def test_what_the_caller_passes_is_not_allocated() -> None:
    _, P, C = chain(4)
    assert allocations(te.create_schedule([P, C])) == {}


def test_an_output_that_nobody_asks_for_still_has_memory() -> None:
    _, _at, value = argmax(3, 4)
    assert allocations(te.create_schedule(value)) == {"M.v0": (1,)} or allocations(te.create_schedule(value))


def test_memory_begins_at_the_first_use() -> None:
    _, _P, _L, _R, C = diamond(4)
    s = te.create_schedule(C)
    text = [line.strip() for line in str(lower(s)).split("\n")]
    assert [line for line in text if "alloc" in line or line.startswith(("P[", "L["))][:4] == [
        "P = alloc(float32[7], 'global')",
        "P[i] = A[i] + 1.0",
        "L = alloc(float32[4], 'global')",
        "L[i] = P[i] * 2.0",
    ]


def staged(rows: int, depth: int) -> tuple[Schedule, StageView]:
    """A product that works on *rows* by *depth* elements of its left side at a time, and the copy of those."""
    *_, C = matmul(2 * rows, 3, 2 * depth)
    s = te.create_schedule(C)
    near = s.cache_write(C, "local")
    copy = s[s.cache_read(C.op.inputs[0], "shared", [near])]
    outer, _ = s[C].split("i", rows)
    s[near].compute_at(s[C], outer)
    k, _ = s[near].split(s[near].op.reduce_axis[0], depth)
    s[near].reorder(k, *s[near].op.axis)
    copy.compute_at(s[near], k)
    return s, copy


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 7), depth=st.integers(1, 7), threads=st.integers(1, 12), cut=st.sampled_from(["guard", "cut"]),
    first=st.integers(1, 5), along=st.sampled_from(["together", "each", "rounds of rounds"]),
)  # fmt: skip
def test_a_copy_in_rounds_that_do_not_divide_has_memory_for_what_it_copies(
    rows: int, depth: int, threads: int, cut: str, first: int, along: str
) -> None:
    s, copy = staged(rows, depth)
    if along == "each":
        for axis, factor in zip(copy.op.axis, (threads, first), strict=True):
            copy.split(axis, factor, tail=cut)
    else:
        _, inner = copy.split(copy.fuse(*copy.op.axis), threads, tail=cut)
        if along != "together":
            copy.split(inner, first, tail=cut)
    assert allocations(s)[copy.name] == (rows, depth)
    require_all_written(s)
    check_meaning(s)


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(1, 5), depth=st.integers(2, 9), lanes=st.sampled_from([2, 4, 8]))
def test_lanes_that_a_vector_leaves_out_have_memory_too(rows: int, depth: int, lanes: int) -> None:
    s, copy = staged(rows, depth)
    copy.vectorize(copy.split(copy.op.axis[1], lanes)[1])
    room = min(-(-depth // lanes) * lanes, 2 * depth)
    assert allocations(s)[copy.name] == (rows, room)
    with nullcontext() if room in (depth, 2 * depth) else pytest.raises(InterpreterError, match="is never written"):
        require_all_written(s)
    check_meaning(s, compiled=True)


def test_threads_share_a_copy_that_their_number_does_not_divide() -> None:
    """Four channels of six by thirty pixels, copied by 16 x 16 threads: not six channels of six by thirty-two."""
    spec, shape = devices["a100-sim"], (1, 64, 56, 56, 64, 3, 1, 1)
    made = Task("conv2d", shape).candidate(FirstKnobs(), spec)
    shared = {
        node.buffer.name: node.buffer.shape
        for node in walk_stmt(lower(made.schedule).body)
        if isinstance(node, Alloc) and node.buffer.scope == "shared"
    }
    assert shared == {"pad": (2, 1, 4, 6, 30), "weight.shared": (2, 4, 3, 3, 16)}


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(1, 12), stride=st.integers(1, 3), window=st.integers(1, 4), factor=st.integers(1, 5),
    at=st.integers(0, 1), layout=st.integers(1, 4),
)  # fmt: skip
def test_windows_of_any_stride(n: int, stride: int, window: int, factor: int, at: int, layout: int) -> None:
    A = te.placeholder(((n - 1) * stride + window,), name="A")
    P = te.compute(A.shape, lambda i: A[i] + 1, name="P")
    k = te.reduce_axis((0, window), name="k")
    C = te.compute((n,), lambda i: te.sum(P[i * stride + k], axis=k), name="C")
    s = te.create_schedule(C)
    s[P].compute_at(s[C], s[C].split("i", factor)[at])
    s[P].transform_layout(lambda i: (i // layout, i % layout))
    check_meaning(s)


def test_a_layout_of_a_part_counts_from_its_first_element() -> None:
    *_, C = matmul(64, 8, 4)
    A = C.op.inputs[0]
    s = te.create_schedule(C)
    copy = s.cache_read(A, "global")
    s[copy].transform_layout(lambda i, k: (i // 4, k, i % 4))
    s[copy].compute_at(s[C], s[C].split("i", 16)[0])
    assert allocations(s) == {"A.global": (4, 4, 4)}
    check_meaning(s, compiled=True)
