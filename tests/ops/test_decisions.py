from __future__ import annotations

import itertools
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashsched.errors import TuneError
from flashsched.ops.decisions import choose_order, choose_split
from flashsched.tune.search.knobs import FirstKnobs, RandomKnobs, every


@given(extent=st.integers(1, 400), parts=st.integers(1, 4), seed=st.integers(0, 99))
def test_the_parts_of_a_split_make_the_whole(extent, parts, seed):
    turns = choose_split(RandomKnobs(random.Random(seed)), "i", extent, parts)
    assert len(turns) == parts
    assert math.prod(turns) == extent


def test_all_splits_are_found_once():
    found = [tuple(turns) for _, turns in every(lambda knobs: choose_split(knobs, "i", 12, 2))]
    assert found == [(12, 1), (6, 2), (4, 3), (3, 4), (2, 6), (1, 12)]


def test_the_first_split_is_the_nearest():
    assert choose_split(FirstKnobs(), "i", 96, 3, first=(4, 3, 8)) == [4, 3, 8]
    assert choose_split(FirstKnobs(), "i", 96, 2, most=5, first=(6, 16)) == [24, 4]


def test_all_orders_are_found_once():
    found = [tuple(order) for _, order in every(lambda knobs: choose_order(knobs, "order", "abcd"))]
    assert sorted(found) == sorted(itertools.permutations("abcd"))
    assert found[0] == tuple("abcd")


def test_neighbours_are_alike():
    orders = {tuple(k.decisions.values()): order for k, order in every(lambda k: choose_order(k, "order", "abcd"))}
    for decided, order in orders.items():
        for place in range(3):
            near = orders.get((*decided[:place], decided[place] + 1, *decided[place + 1 :]))
            if near is not None:
                assert sum(a != b for a, b in zip(order, near, strict=True)) <= 2 * (3 - place)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [((0, 2), "got 0 into 2"), ((4, 0), "got 4 into 0"), ((4, 2, (1, 2, 2)), "first has 3 numbers, and the split 2")],
)
def test_refusals(arguments, says):
    extent, parts, *first = arguments
    with pytest.raises(TuneError, match=says):
        choose_split(FirstKnobs(), "i", extent, parts, first=first[0] if first else ())
