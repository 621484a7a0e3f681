"""storage_align: gaps between the rows of a stage's memory."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashsched import te
from flashsched.codegen.lower import lower
from flashsched.errors import ArgumentError, LimitError, OutputError, StructureError
from flashsched.schedule.ir import Alloc, walk_stmt
from flashsched.schedule.layout import strides_of
from flashsched.schedule.schedule import Schedule
from flashsched.testing.checks import check_meaning, check_round_trip
from flashsched.testing.programs import chain


@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(0, 7), m=st.integers(0, 19), axis=st.integers(0, 1), factor=st.integers(1, 40), data=st.data(),
    at=st.sampled_from([None, "i0", "i1.o"]), vector=st.booleans(),
)  # fmt: skip
def test_gaps_change_nothing_that_is_computed(
    n: int, m: int, axis: int, factor: int, data: st.DataObject, at: str | None, vector: bool
) -> None:
    _, P, C = chain(n, m)
    s = te.create_schedule(C)
    s[P].storage_align(axis, factor, data.draw(st.integers(0, factor - 1)))
    s[C].split("i1", 5)
    if at is not None:
        s[P].compute_at(s[C], at)
    if vector:
        s[P].vectorize(s[P].op.axis[1])
        s[C].vectorize("i1.i")
    check_meaning(s, compiled=True)
    check_round_trip(s)


@given(
    shape=st.lists(st.integers(0, 9), max_size=4).map(tuple),
    wanted=st.lists(st.tuples(st.integers(0, 3), st.integers(1, 40), st.integers(0, 39)), max_size=3),
)
def test_strides_keep_what_was_asked_for_and_elements_apart(
    shape: tuple[int, ...], wanted: list[tuple[int, int, int]]
) -> None:
    asked = {axis: (axis, factor, offset % factor) for axis, factor, offset in wanted if axis < len(shape)}
    strides = strides_of(shape, asked.values())
    for axis, factor, offset in asked.values():
        assert strides[axis] % factor == offset
    step = 1
    for extent, stride in zip(reversed(shape), reversed(strides), strict=True):
        assert stride >= step  # what lies inside one index ends before the next begins
        step = stride * max(extent, 1)


def allocation(s: Schedule) -> str:
    return next(line.strip() for line in str(lower(s)).split("\n") if "alloc" in line)


def test_the_allocation_shows_the_strides() -> None:
    _, P, C = chain(4, 32)
    s = te.create_schedule(C)
    assert allocation(s) == "P = alloc(float32[4, 32], 'global')"
    s[P].storage_align(s[P].op.axis[0], factor=32, offset=1)
    assert allocation(s) == "P = alloc(float32[4, 32], 'global', strides=[33, 1])"
    s[P].storage_align(0, factor=32, offset=4)  # said again: the last word counts
    assert allocation(s) == "P = alloc(float32[4, 32], 'global', strides=[36, 1])"
    s[P].compute_at(s[C], "i0")
    assert allocation(s) == "P = alloc(float32[1, 32], 'global', strides=[36, 1])"


def test_a_layout_comes_first() -> None:
    _, P, C = chain(4, 8)
    s = te.create_schedule(C)
    s[P].transform_layout(lambda i, j: (j // 4, i, j % 4))
    s[P].storage_align(1, factor=8)
    assert allocation(s) == "P = alloc(float32[2, 4, 4], 'global', strides=[32, 8, 1])"
    check_meaning(s, compiled=True)
    with pytest.raises(StructureError, match=r"(?s)has aligned strides.*hint: call transform_layout first"):
        s[P].transform_layout(lambda i, j: (j, i))


def test_rows_of_shared_memory_that_threads_fill_together() -> None:
    _, P, C = chain(4, 8)
    s = te.create_schedule(C)
    s[P].set_scope("shared")
    s[P].storage_align(0, 8, 1)
    s[C].bind("i0", "blockIdx.x")
    s[C].bind("i1", "threadIdx.x")
    s[P].compute_at(s[C], "i1")
    s[P].bind("i1", "threadIdx.x")
    held = [node.buffer for node in walk_stmt(lower(s).body) if isinstance(node, Alloc)]
    assert [(buffer.shape, buffer.strides) for buffer in held] == [((1, 8), (9, 1))]
    check_meaning(s, compiled=True)


def test_storage_align_refuses() -> None:
    _, P, C = chain(4, 8)
    s = te.create_schedule(C)
    with pytest.raises(OutputError, match=r"(?s)'C' is an output, and its rows lie.*cache_write\('C', 'local'\)"):
        s[C].storage_align(0, 8, 1)
    with pytest.raises(ArgumentError, match="no dimension 2: the memory of 'P' has 2"):
        s[P].storage_align(2, 8, 1)
    with pytest.raises(ArgumentError, match="no dimension -1"):
        s[P].storage_align(s[C].op.axis[0], 8, 1)
    for factor, offset in ((0, 0), (8, 8), (8, -1)):
        with pytest.raises(ArgumentError, match=f"a stride can't be {offset} modulo {factor}"):
            s[P].storage_align(0, factor, offset)
    with pytest.raises(LimitError, match="factor 5000 could leave 4999 elements unused, and 4096 is the limit"):
        s[P].storage_align(0, 5000)
