"""split: every point once, whatever divides, and no condition where none is needed."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashsched import te
from flashsched.errors import ScheduleError
from flashsched.testing.checks import check_meaning, check_round_trip
from flashsched.testing.programs import matmul, pointwise, row_sum

TAILS = st.sampled_from(["guard", "cut"])
SIZES = {"factor": st.integers(1, 9), "nparts": st.integers(1, 9)}
HOW = st.sampled_from(["factor", "nparts"]).flatmap(lambda key: SIZES[key].map(lambda size: {key: size}))


@settings(max_examples=60, deadline=None)
@given(n=st.integers(0, 20), steps=st.lists(st.tuples(HOW, TAILS, st.booleans()), max_size=3))
def test_nested_splits_visit_each_point_once(n: int, steps: list[tuple[dict[str, int], str, bool]]) -> None:
    _, C = pointwise(n)
    s = te.create_schedule(C)
    loop = s[C].op.axis[0]
    for how, tail, outer in steps:
        loop = s[C].split(loop, **how, tail=tail)[0 if outer else 1]
    check_meaning(s)
    check_round_trip(s)


@settings(max_examples=40, deadline=None)
@given(begin=st.integers(0, 3), extent=st.integers(0, 9), first=HOW, second=HOW, tail=TAILS)
def test_a_reduction_is_initialised_once_and_complete(
    begin: int, extent: int, first: dict[str, int], second: dict[str, int], tail: str
) -> None:
    _, C = row_sum(5, begin, begin + extent)
    s = te.create_schedule(C)
    ko, _ = s[C].split(s[C].op.reduce_axis[0], **first, tail=tail)
    s[C].split(s[C].op.axis[0], **second, tail=tail)
    s[C].reorder(ko, *[loop for loop in s[C].loops if loop != ko])
    check_meaning(s, compiled=extent > 6)
    check_round_trip(s)


@settings(max_examples=20, deadline=None)
@given(m=st.integers(1, 9), n=st.integers(1, 40), k=st.integers(0, 6), tail=TAILS)
def test_a_split_matmul_compiled_is_right(m: int, n: int, k: int, tail: str) -> None:
    *_, C = matmul(m, n, k)
    s = te.create_schedule(C)
    _, ii = s[C].split(s[C].op.axis[0], 4, tail=tail)
    _, ji = s[C].split(s[C].op.axis[1], 16, tail=tail)
    s[C].reorder(s[C].op.reduce_axis[0], ii, ji)
    s[C].unroll(ii)
    s[C].vectorize(ji)
    check_meaning(s, compiled=True)


def test_what_divides_needs_no_condition() -> None:
    _, C = pointwise(8)
    s = te.create_schedule(C)
    assert s[C].split("i", factor=4) == s[C].loops
    assert str(s) == (
        "for i.o in range(2):\n  for i.i in range(4):\n    C(i=i.o * 4 + i.i):\n      C[i] = A[i] * 2.0 + 1.0"
    )


def test_what_does_not_divide_gets_one_condition_a_root_axis() -> None:
    _, C = pointwise(10)
    s = te.create_schedule(C)
    outer, inner = s[C].split("i", nparts=3, tail="cut")
    s[C].split(inner, factor=3)
    assert str(s) == (
        "for i.o in range(3):\n"
        "  for i.i.o in range(2):  # tail=cut\n"
        "    for i.i.i in range(3):  # tail=cut\n"
        "      C(i=i.o * 4 + i.i.o * 3 + i.i.i):\n"
        "        where i.o * 4 + i.i.o * 3 + i.i.i < 10 and i.i.o * 3 + i.i.i < 4\n"
        "        C[i] = A[i] * 2.0 + 1.0"
    )
    assert outer.name == "i.o"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"loop": "z", "factor": 4}, "no loop named 'z'; stage 'C' has i"),
        ({"loop": "i"}, "give either factor or nparts, got factor=None, nparts=None"),
        ({"loop": "i", "factor": 2, "nparts": 2}, "give either factor or nparts, got factor=2, nparts=2"),
        ({"loop": "i", "factor": 0}, "factor must be at least 1, got 0"),
        ({"loop": "i", "nparts": -1}, "nparts must be at least 1, got -1"),
        ({"loop": "i", "factor": 2.5}, "factor must be an integer, got 2.5"),
        ({"loop": "i", "factor": True}, "factor must be an integer, got True"),
        ({"loop": "i", "factor": 2, "tail": "shrink"}, "no tail strategy 'shrink'"),
    ],
)
def test_split_refuses(arguments: dict[str, object], says: str) -> None:
    _, C = pointwise(8)
    s = te.create_schedule(C)
    before = str(s)
    with pytest.raises(ScheduleError, match=says):
        s[C].split(**arguments)  # type: ignore[arg-type]
    assert str(s) == before
    assert len(s.trace) == 0


@pytest.mark.parametrize("kind", ["unroll", "vectorize", "parallel"])
def test_split_refuses_a_loop_that_has_a_kind(kind: str) -> None:
    _, C = pointwise(8)
    s = te.create_schedule(C)
    getattr(s[C], kind)("i")
    with pytest.raises(ScheduleError, match=r"loop 'i' is \w+, and only a serial loop can be split") as caught:
        s[C].split("i", 4)
    assert "<--" in str(caught.value)
    assert "hint: split first, then mark 'i.i'" in str(caught.value)
    assert "test_split.py:" in str(caught.value)


def test_a_loop_that_was_split_is_no_more() -> None:
    _, C = pointwise(8)
    s = te.create_schedule(C)
    (i,) = s[C].op.axis
    s[C].split(i, 4)
    with pytest.raises(ScheduleError, match=r"loop 'i' of stage 'C' is no more: split\('i', factor=4\) took it"):
        s[C].unroll(i)
