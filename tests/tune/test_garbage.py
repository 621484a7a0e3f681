"""Collecting garbage more seldom while schedules are made."""

from __future__ import annotations

import gc

import pytest

from flashsched.tune.garbage import seldom_collected


@pytest.fixture
def as_it_was():
    before = gc.get_threshold()
    yield before
    gc.set_threshold(*before)


def test_more_seldom_while_it_lasts(as_it_was):
    own = (700, 10, 10)
    gc.set_threshold(*own)
    with seldom_collected():
        assert all(now > then for now, then in zip(gc.get_threshold(), own, strict=True))
    assert gc.get_threshold() == own


def test_as_before_when_a_run_fails(as_it_was):
    with pytest.raises(KeyError), seldom_collected():
        raise KeyError
    assert gc.get_threshold() == as_it_was


@pytest.mark.parametrize("own", [(0, 10, 10), (10**6, 10**3, 10**3)])
def test_who_looks_more_seldom_yet_is_left_alone(as_it_was, own):
    gc.set_threshold(*own)
    with seldom_collected():
        assert gc.get_threshold() == own
