from __future__ import annotations

import math
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashsched.errors import TuneError
from flashsched.tune.measuring.timing import choose, interleave, median_interval, repeated, tie_band, time_callable


class Fake:
    """Something that takes *seconds* a call by its own clock; *drift(calls so far)* stretches it."""

    def __init__(self, seconds, drift=None, log=None, name=None):
        self.seconds, self.drift, self.log, self.name = seconds, drift, log, name
        self.calls = 0
        self.asked = []

    def __call__(self, repeat):
        self.asked.append(repeat)
        if self.log is not None:
            self.log.append(self.name)
        drifts = range(self.calls, self.calls + repeat)
        self.calls += repeat
        return self.seconds * (repeat if self.drift is None else sum(map(self.drift, drifts)))


# -- one thing ------------------------------------------------------------------------------------------------------


def test_a_slow_thing_is_called_once_a_sample():
    run = Fake(0.05)
    timing = time_callable(run, min_time_s=0.2, min_repeats=3)
    assert run.asked == [1, 1, 1, 1, 1]  # a warm-up, then 0.2 s worth
    assert timing.samples_s == [0.05] * 4
    assert (timing.median_s, timing.repeat, timing.noise, timing.stopped_early) == (0.05, 1, 0.0, False)


@given(st.floats(1e-9, 1e-3))
def test_a_fast_thing_is_repeated_until_a_sample_lasts(seconds):
    run = Fake(seconds)
    timing = time_callable(run, min_time_s=0.01, max_repeats=7, min_sample_s=1e-3)
    assert timing.repeat * seconds >= 1e-3 * 0.999
    assert timing.repeat * seconds <= 1e-3 * 1.2 + seconds * 2
    assert 3 <= len(timing.samples_s) <= 7
    assert math.isclose(timing.median_s, seconds, rel_tol=1e-9)
    assert run.calls < 40 * 0.001 / seconds + 40  # calibration costs no more than the samples


def test_the_first_call_does_not_count():
    assert time_callable(Fake(0.01, drift=lambda calls: 50.0 if calls == 0 else 1.0)).median_s == 0.01


def test_a_hopeless_one_is_timed_once():
    run = Fake(0.9)
    timing = time_callable(run, stop_if_slower_than_s=0.1)
    assert (timing.samples_s, timing.stopped_early, run.calls) == ([0.9], True, 1)


def test_a_near_miss_gets_a_second_chance():
    run = Fake(0.08, drift=lambda calls: 1.5 if calls == 0 else 1.0)
    assert not time_callable(run, stop_if_slower_than_s=0.1).stopped_early
    assert time_callable(Fake(0.12), stop_if_slower_than_s=0.1).stopped_early


def test_one_that_slows_down_is_given_up():
    run = Fake(0.001, drift=lambda calls: 1.0 if calls == 0 else 100.0)
    timing = time_callable(run, min_time_s=9, stop_if_slower_than_s=0.01)
    assert timing.stopped_early
    assert run.calls == 2


def test_what_is_known_well_enough_is_timed_no_further():
    steady = time_callable(Fake(1e-3), min_time_s=1.0, min_sample_s=1e-3, max_repeats=50, precision=0.02)
    assert (len(steady.samples_s), steady.noise) == (6, 0.0)  # with fewer, no interval holds the median with 95 %
    rng = random.Random(0)
    shaky = time_callable(
        Fake(1e-3, drift=lambda calls: rng.uniform(1, 1.2)),
        min_time_s=1.0, min_sample_s=1e-3, max_repeats=50, precision=0.05,
    )  # fmt: skip
    assert 6 < len(shaky.samples_s) < 50
    assert shaky.noise <= 0.05
    assert len(time_callable(Fake(1e-3), min_time_s=1.0, min_sample_s=1e-3, max_repeats=50).samples_s) == 50


@pytest.mark.parametrize(("above", "samples"), [(0.9e-3, 6), (1.1e-3, 50), (None, 50)])
def test_one_that_is_surely_no_winner_is_timed_no_further(above, samples):
    rng = random.Random(0)
    shaky = Fake(1e-3, drift=lambda calls: rng.uniform(1, 1.2))
    timing = time_callable(
        shaky, min_time_s=1.0, min_sample_s=1e-3, max_repeats=50, precision=1e-9, surely_above_s=above
    )
    assert len(timing.samples_s) == samples
    assert not timing.stopped_early


def test_one_that_is_plainly_worse_gets_the_fewest_samples():
    settings = {"min_time_s": 1.0, "stop_if_slower_than_s": 0.03, "worse_than_s": 0.015}
    worse = time_callable(Fake(0.02), **settings)
    assert (len(worse.samples_s), worse.stopped_early) == (3, True)
    assert len(time_callable(Fake(0.04), **settings).samples_s) == 1
    assert not time_callable(Fake(0.014), **settings).stopped_early
    lucky = Fake(0.02, drift=lambda calls: 0.5 if calls == 2 else 1.0)  # one fast sample: it may be as fast
    assert not time_callable(lucky, **settings).stopped_early


def test_a_plain_callable_is_timed_with_the_clock_it_gets():
    now = iter(range(100))
    calls = []
    run = repeated(lambda: calls.append(1), clock=lambda: next(now))
    assert run(5) == 1
    assert len(calls) == 5
    assert time_callable(repeated(lambda: sum(range(1000))), min_time_s=0.001).median_s > 1e-7


@pytest.mark.parametrize(
    ("settings", "says"),
    [({"min_repeats": 5, "max_repeats": 4}, "got 5 and 4"), ({"min_repeats": 0}, "1 <= min_repeats")],
)
def test_settings_that_contradict_are_refused(settings, says):
    with pytest.raises(TuneError, match=says):
        time_callable(Fake(1.0), **settings)


def test_what_takes_no_time_is_refused():
    with pytest.raises(TuneError, match="nothing to time"):
        time_callable(lambda repeat: 0.0)


# -- the interval of a median ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(  # ranks from any table of the sign test
    ("n", "low", "high", "coverage"),
    [(1, 1, 1, 0.0), (2, 1, 2, 0.5), (5, 1, 5, 0.9375), (6, 1, 6, 0.96875), (9, 2, 8, 0.9609375), (20, 6, 15, 0.9586)],
)
def test_interval_ranks(n, low, high, coverage):
    found = median_interval(list(range(n, 0, -1)))
    assert (found.low, found.high) == (low, high)
    assert found.coverage == pytest.approx(coverage, abs=1e-4)


@given(st.lists(st.floats(0, 1e3), min_size=1, max_size=60))
def test_the_interval_holds_the_samples_median(samples):
    found = median_interval(samples)
    assert min(samples) <= found.low <= statistics.median(samples) <= found.high <= max(samples)


def test_the_interval_covers_as_often_as_it_says():
    rng = random.Random(0)
    hits = 0
    for _ in range(2000):
        found = median_interval([rng.lognormvariate(0, 1) for _ in range(15)])
        hits += found.low <= 1.0 <= found.high
    assert found.coverage == pytest.approx(0.9648, abs=1e-4)
    assert hits / 2000 == pytest.approx(found.coverage, abs=0.015)


def test_no_samples_no_median():
    with pytest.raises(TuneError, match="at least one sample"):
        median_interval([])


# -- finalists ------------------------------------------------------------------------------------------------------


def test_rounds_rotate_and_turn():
    log = []
    runs = [Fake(1.0, log=log, name=name) for name in "abc"]
    assert interleave(runs, rounds=4) == [[1.0] * 4] * 3
    assert "".join(log[3:]) == "abc" "acb" "cab" "cba"  # fmt: skip
    assert interleave([], rounds=4) == []


def test_drift_hits_all_alike_so_one_percent_is_seen():
    clock = [0]

    def run(seconds):
        def timed(repeat):
            clock[0] += 1
            return repeat * seconds * (1 + 0.02 * clock[0])  # the machine slows down by 2 % a sample

        return timed

    samples = interleave([run(1.1), run(1.0), run(1.2)], rounds=12)
    assert max(samples[1]) > min(samples[2])  # by plain intervals they would overlap
    assert tie_band(samples) == [1]


def noisy(seconds, rng, n=15):
    return [seconds * (1 + abs(rng.gauss(0, 0.05))) for _ in range(n)]


def test_equals_tie_and_the_first_of_them_wins_whatever_the_noise():
    for seed in range(20):
        rng = random.Random(seed)
        samples = [noisy(2.0, rng), noisy(1.0, rng), noisy(1.0, rng), noisy(1.5, rng)]
        band = tie_band(samples)
        assert set(band) <= {1, 2}
        assert choose(samples) == band[0]
    samples = [[3.0] * 9, [1.0] * 9, [1.0] * 9]
    assert tie_band(samples) == [1, 2]
    assert choose(samples) == 1


def test_tolerance_widens_the_band():
    samples = [[1.02] * 9, [1.0] * 9, [1.1] * 9]
    assert tie_band(samples) == [1]
    assert tie_band(samples, tolerance=0.03) == [0, 1]
    assert choose(samples, tolerance=0.03) == 0


def test_times_of_zero_do_not_break_a_tie():
    assert tie_band([[0.0] * 7, [0.0] * 7, [1.0] * 7]) == [0, 1]


@pytest.mark.parametrize("samples", [[], [[]], [[1.0], [1.0, 2.0]]])
def test_a_tie_needs_equal_rounds(samples):
    with pytest.raises(TuneError, match="as many samples of each"):
        tie_band(samples)
