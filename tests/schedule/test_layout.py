"""Maps of indices: from a function, to text and back, what memory they need."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashsched.errors import ScheduleError
from flashsched.schedule.layout import IndexMap
from flashsched.te.evaluate import evaluate
from flashsched.te.expr import Var, const


def test_from_a_function_to_text_and_back() -> None:
    layout = IndexMap.of(lambda k, j: (j // 32, k, j % 32), 2)
    assert str(layout) == "k, j -> j // 32, k, j % 32"
    assert str(IndexMap.parse(str(layout))) == str(layout)
    assert str(IndexMap.of(lambda i: i // 2 + i % 2 * 3, 1)) == "i -> i // 2 + i % 2 * 3"
    assert str(IndexMap.of(lambda i: i, 1)) == "i -> i"
    assert str(IndexMap.of(lambda i, j: [j, 0, i], 2)) == "i, j -> j, 0, i"


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("i->i", "i -> i"),
        (" i , j -> (j, i)", "i, j -> j, i"),
        ("i, j -> i * 4 + j, -i", "i, j -> i * 4 + j, 0 - i"),
        ("i -> i - 3 // 2", "i -> i - 1"),
        (" -> 0", " -> 0"),
    ],
)
def test_texts_that_are_read(text: str, printed: str) -> None:
    assert str(IndexMap.parse(text)) == printed


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("i", "'i' is no layout"),
        ("i -> j", "is no layout: 'j'"),
        ("i -> i -> i", "is no layout"),
        ("i -> __import__('os')", "may not stand in a layout"),
        ("i -> i[0]", "may not stand in a layout"),
        ("i -> i if i else 0", "may not stand in a layout"),
        ("i -> 1.5", "'1.5' may not stand in a layout"),
        ("i -> i ** 2", "may not stand in a layout"),
        ("i -> i // 0", "division by zero"),
        ("i -> ", "is no layout"),
        ("i, i -> i", "it names an index twice: i, i"),
        ("i -> " + "-" * 100_000 + "i", "is no layout: it has 100006 characters"),
        ("i -> " + "(" * 200 + "i", "is no layout"),
    ],
)
def test_texts_that_are_not(text: str, says: str) -> None:
    with pytest.raises(ScheduleError, match=says):
        IndexMap.parse(text)


def test_functions_that_do_not_fit() -> None:
    with pytest.raises(ScheduleError, match="the layout takes 1 index, and the tensor has rank 2"):
        IndexMap.of(lambda i: i, 2)
    with pytest.raises(ScheduleError, match="the layout gives no index"):
        IndexMap.of(lambda i, j: (), 2)


@given(n=st.integers(1, 20), m=st.integers(1, 20), x=st.integers(1, 7), y=st.integers(1, 7))
def test_memory_holds_every_element_once(n: int, m: int, x: int, y: int) -> None:
    layout = IndexMap.of(lambda i, j: (j // y, i // x, i % x, j % y), 2)
    shape = layout.shape((n, m))
    assert shape == (-(-m // y), -(-n // x), min(n, x), min(m, y))
    places = set()
    for i in range(n):
        for j in range(m):
            at = layout.apply((const(i, "int64"), const(j, "int64")), {})
            place = tuple(int(evaluate(e, {}, lambda *_: None)) for e in at)  # type: ignore[arg-type, return-value]
            assert all(0 <= p < size for p, size in zip(place, shape, strict=True))
            places.add(place)
    assert len(places) == n * m


def test_places_are_simplified_where_ranges_allow() -> None:
    o, i = Var("o"), Var("i")
    layout = IndexMap.of(lambda j: (j // 8, j % 8), 1)
    assert [str(e) for e in layout.apply((o * 8 + i,), {o: (0, 3), i: (0, 7)})] == ["o", "i"]


def test_a_function_of_any_number_of_indices() -> None:
    layout = IndexMap.of(lambda *at: (*at[:-1], at[-1] // 4, at[-1] % 4), 3)
    assert str(layout) == "i0, i1, i2 -> i0, i1, i2 // 4, i2 % 4"
    assert str(IndexMap.of(lambda b, *at: (at[-1], b), 2)) == "b, i1 -> i1, b"
