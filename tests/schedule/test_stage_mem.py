"""stage_mem: a reduction sums up each turn of an outer loop in a small buffer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashsched import te
from flashsched.codegen.build import build
from flashsched.codegen.lower import lower
from flashsched.errors import ScheduleError, StructureError, UnknownNameError
from flashsched.schedule.schedule import Schedule
from flashsched.te.tensor import Tensor
from flashsched.testing.checks import check_meaning, check_round_trip
from flashsched.testing.programs import argmax, matmul, pointwise


def blocked(m: int, n: int, k: int, depth: int, rows: int, columns: int) -> tuple[Schedule, list[Tensor]]:
    """A product blocked over k, each block summed up in a tile of accumulators."""
    A, B, C = matmul(m, n, k)
    s = te.create_schedule(C)
    ko, ki = s[C].split("k", depth)
    io, jo, ii, ji = s[C].tile("i", "j", rows, columns, tail="cut")
    s[C].reorder(ko, io, jo, ki, ii, ji)
    tile = s.stage_mem(C, ko, inside=jo)
    s[C].vectorize(ji)
    _, i, j = s[tile].op.axis
    s[tile].reorder(*s[tile].op.reduce_axis, i, j)
    s[tile].unroll(i)
    s[tile].vectorize(j)
    return s, [A, B, C]


@settings(max_examples=20, deadline=None)
@given(m=st.integers(0, 9), n=st.integers(0, 19), k=st.integers(0, 17), depth=st.integers(1, 6))
def test_a_product_blocked_over_k(m: int, n: int, k: int, depth: int) -> None:
    s, _ = blocked(m, n, k, depth, 3, 8)
    check_meaning(s, compiled=True)
    check_round_trip(s)


@settings(max_examples=25, deadline=None)
@given(data=st.data(), n=st.integers(0, 7), k=st.integers(0, 11), depth=st.integers(1, 4))
def test_two_outputs_and_any_loop_inside(data: st.DataObject, n: int, k: int, depth: int) -> None:
    _, at, value = argmax(n, k)
    s = te.create_schedule([at, value])
    io, ii = s[at].split("i", 3)
    ko, ki = s[at].split("k", depth)
    order = data.draw(st.permutations([io, ii, ko, ki]))
    s[at].reorder(*order)
    places = [loop for loop in order[order.index(ko) :] if loop != ki]
    s.stage_mem(
        at, ko, inside=data.draw(st.sampled_from(places)), scope=data.draw(st.sampled_from(["local", "global"]))
    )
    check_meaning(s, compiled=True)
    check_round_trip(s)


def test_the_buffer_is_a_tile() -> None:
    s, args = blocked(6, 16, 19, 8, 3, 8)
    assert s.trace.steps[-5].text() == "stage_mem('k.o', inside='j.o')"
    assert "C.rf = alloc(float32[1, 3, 8], 'local')" in str(lower(s, args))


def test_by_default_it_is_in_the_loop_itself() -> None:
    *_, C = matmul(4, 6, 8)
    s = te.create_schedule(C)
    ko, _ = s[C].split("k", 4)
    s[C].reorder(ko, "i", "j")
    s.stage_mem(C, ko)
    assert "C.rf = alloc(float32[1, 4, 6], 'local')" in str(lower(s))
    check_meaning(s, compiled=True)
    check_round_trip(s)


@pytest.mark.parametrize(("m", "n", "k"), [(13, 47, 61), (12, 64, 64), (1, 1, 1), (7, 16, 0)])
def test_the_kernel_is_right_at_ragged_sizes(m: int, n: int, k: int) -> None:
    s, args = blocked(m, n, k, 16, 4, 16)
    rng = np.random.default_rng(0)
    a, b = (rng.random(tensor.known_shape, dtype=np.float32) for tensor in args[:2])
    np.testing.assert_allclose(build(s, args)(a, b), a @ b, rtol=1e-5)


def test_stage_mem_refuses() -> None:
    _, P = pointwise(4)
    with pytest.raises(StructureError, match="loop 'i' does not run over a reduction"):
        te.create_schedule(P).stage_mem(P, "i")
    *_, C = matmul(3, 4, 8)
    s = te.create_schedule(C)
    ko, ki = s[C].split("k", 4)
    with pytest.raises(StructureError, match=r"(?s)loop 'j' is outside of 'k\.o'.*reorder\('k\.o', 'j'\) first"):
        s.stage_mem(C, ko, inside="j")
    with pytest.raises(ScheduleError, match=r"no loop named 'k\.i'|loop 'k\.i' .* is no more"):
        s.stage_mem(C, ko, inside=ki)
    with pytest.raises(UnknownNameError, match="no memory scope 'nowhere'"):
        s.stage_mem(C, ko, scope="nowhere")
    assert len(s.trace) == 1
