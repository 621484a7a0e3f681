from __future__ import annotations

import math

import pytest

from flashsched.tune.measuring.control import DRIFT, Control
from flashsched.tune.measuring.timing import Timing


class Machine:
    """A control kernel that takes *pace* seconds a call."""

    def __init__(self, pace=1e-6):
        self.pace, self.calls = pace, 0

    def __call__(self, calls):
        self.calls += 1
        return calls * self.pace


def test_drift_is_told_against_the_best_so_far():
    machine = Machine()
    control = Control(machine)
    assert control.factor() == 1.0
    machine.pace = 1.5e-6
    assert control.factor() == pytest.approx(1.5)
    machine.pace = 0.5e-6
    assert control.factor() == 1.0
    machine.pace = 1e-6
    assert control.factor() == pytest.approx(2.0)


def test_a_fresh_process_knows_the_best_of_the_one_before():
    control = Control(Machine(2e-6))
    control.know(None)
    assert control.factor() == 1.0
    control.know(1e-6)
    assert control.factor() == pytest.approx(2.0)
    assert control.best_s == 1e-6


def test_a_quiet_timing_is_done_once():
    control = Control(Machine())
    timings = iter([Timing([1.0], 1)])
    assert control.timed(lambda: next(timings)) == (Timing([1.0], 1), 1.0)


def test_a_timing_while_the_machine_is_slow_is_done_again_and_the_better_counts():
    machine = Machine()
    control = Control(machine)
    machine.pace = 1e-6 * DRIFT * 1.2
    made = []

    def timing():
        made.append(Timing([2.0 - len(made)], 1))
        if len(made) == 1:
            return made[0]
        machine.pace = 1e-6  # by the end of the second, all is well again, but it began slow
        return made[1]

    found, drift = control.timed(timing)
    assert len(made) == 2
    assert drift == pytest.approx(DRIFT * 1.2)
    assert found in made

    machine.pace = 1e-6 * DRIFT * 1.2

    def recovering():
        machine.pace = 1e-6
        return Timing([3.0], 1)

    assert control.timed(recovering)[1] == 1.0


def test_the_kernel_takes_as_long_as_a_chain_of_its_length():
    control = Control()
    assert 2048 * 0.2e-9 < control.best_s < 1e-3  # no core does a dependent multiply-add in 0.2 ns
    assert math.isfinite(control.factor())
