"""tile: two splits and a reorder in one step."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashsched import te
from flashsched.errors import ScheduleError
from flashsched.testing.checks import check_meaning, check_round_trip
from flashsched.testing.programs import chain, matmul, pointwise


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(0, 9),
    m=st.integers(0, 9),
    x=st.integers(1, 5),
    y=st.integers(1, 5),
    tail=st.sampled_from(["guard", "cut"]),
    swapped=st.booleans(),
)
def test_a_tile_visits_each_point_once(n: int, m: int, x: int, y: int, tail: str, swapped: bool) -> None:
    _, C = pointwise(n, m)
    s = te.create_schedule(C)
    axes = s[C].op.axis
    s[C].tile(*(reversed(axes) if swapped else axes), x, y, tail=tail)
    check_meaning(s, compiled=n * m > 60)
    check_round_trip(s)


def test_a_tile_is_blocks_outside_and_points_inside() -> None:
    *_, C = matmul(8, 6, 3)
    s = te.create_schedule(C)
    names = [loop.name for loop in s[C].tile(*s[C].op.axis, 4, 3)]
    assert names == ["i.o", "j.o", "i.i", "j.i"]
    assert str(s) == (
        "for i.o in range(2):\n"
        "  for j.o in range(2):\n"
        "    for i.i in range(4):\n"
        "      for j.i in range(3):\n"
        "        for k in range(3):\n"
        "          C(i=i.o * 4 + i.i, j=j.o * 3 + j.i, k=k):  # reduces k\n"
        "            init C[i, j] = 0.0\n"
        "            C[i, j] = C[i, j] + A[i, k] * B[k, j]"
    )


def test_a_tile_is_kept_when_its_stage_moves() -> None:
    _, P, C = chain(8, 8)
    s = te.create_schedule(C)
    s[P].tile(*s[P].op.axis, 3, 2)
    s[P].compute_at(s[C], s[C].op.axis[0])
    assert [loop.name for loop in s[P].loops] == ["i0.o", "i0.i", "i1.o", "i1.i"]
    check_meaning(s)
    check_round_trip(s)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("i0", "i0", 2, 2), "loop 'i0' of stage 'C' is no more"),
        (("i0", "i1", 0, 2), "factor must be at least 1, got 0"),
        (("i0", "i1", 2, 0), "factor must be at least 1, got 0"),
        (("i0", "z", 2, 2), "no loop named 'z'"),
        (("i0", "i1", "2", 2), "x_factor must be an integer, got '2'"),
    ],
)
def test_tile_refuses_as_split_does_and_takes_no_half_step(arguments: tuple[object, ...], says: str) -> None:
    _, C = pointwise(8, 8)
    s = te.create_schedule(C)
    before = str(s)
    with pytest.raises(ScheduleError, match=says):
        s[C].tile(*arguments)  # type: ignore[arg-type]
    assert str(s) == before
    assert len(s.trace) == 0


def test_a_tile_has_two_loops() -> None:
    _, C = pointwise(8, 8)
    s = te.create_schedule(C)
    with pytest.raises(ScheduleError, match="a tile has two loops, got 1"):
        s.apply("tile", "C", {"loops": ["i0"], "x_factor": 2, "y_factor": 2})
