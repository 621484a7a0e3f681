from __future__ import annotations

import sys
import warnings

import pytest

from flashsched.errors import TuneError
from flashsched.tune.measuring.cpu_runner import CpuRunner
from flashsched.tune.measuring.observers import (
    ObserverWarning,
    Perf,
    Rapl,
    Unobservable,
    check_observers,
    find_observer,
    watch,
)
from flashsched.tune.search.knobs import FirstKnobs
from flashsched.tune.task import Task

RELU = Task("relu", (33, 20))


class Counting:
    """Counts calls, ten events each."""

    def __init__(self):
        self.calls = 0

    def start(self):
        self.calls = 0

    def stop(self):
        return {"events": 10.0 * self.calls}

    def run(self, calls):
        self.calls += calls
        return 1e-6 * calls


def test_figures_are_for_one_call():
    observer = Counting()
    assert watch("mine", observer, observer.run, 1e-6) == {"events": 10.0}
    assert observer.calls == 2000
    watch("rapl", observer, observer.run, 1e-6)
    assert observer.calls == 50_000  # its counter moves once a millisecond
    watch("mine", observer, observer.run, 10.0)
    assert observer.calls == 1


@pytest.mark.skipif(sys.platform != "linux", reason="perf_event_open is Linux's")
def test_perf_counts_what_happens_and_no_more():
    try:
        perf = Perf()
    except Unobservable as error:
        pytest.skip(error.reason)
    if "page_faults" not in perf._counters:
        pytest.skip("no page faults are counted here")
    perf.start()
    memory = bytearray(32 << 20)
    touched = perf.stop()["page_faults"]
    del memory
    assert touched >= 16  # a huge page may be had at once
    perf.start()
    assert perf.stop()["page_faults"] < touched


def package(folder, name, energy, most=999_999):
    zone = folder / name
    zone.mkdir(parents=True)
    (zone / "energy_uj").write_text(f"{energy}\n")
    (zone / "max_energy_range_uj").write_text(f"{most}\n")
    return zone / "energy_uj"


def test_rapl_adds_the_packages_and_knows_that_counters_turn_over(tmp_path, monkeypatch):
    monkeypatch.setattr(Rapl, "folder", tmp_path)
    one, two = package(tmp_path, "intel-rapl:0", 100), package(tmp_path, "intel-rapl:1", 999_900)
    package(tmp_path, "intel-rapl:0:0", 5)  # a part of the first
    rapl = Rapl()
    rapl.start()
    one.write_text("400\n")
    two.write_text("100\n")
    assert rapl.stop()["energy_j"] == pytest.approx((300 + 200) * 1e-6)


def test_what_cannot_be_observed_says_why(tmp_path, monkeypatch):
    monkeypatch.setattr(Rapl, "folder", tmp_path)
    with pytest.raises(Unobservable, match=r"no energy counter in(.|\n)*virtual machines"):
        Rapl()
    (tmp_path / "intel-rapl:0").mkdir()
    with pytest.raises(Unobservable, match=r"no energy counter may be read(.|\n)*chmod"):
        Rapl()
    with pytest.raises(Unobservable, match="observer gone:Nothing cannot be made: No module named 'gone'"):
        find_observer("gone:Nothing")


def test_names_are_checked_before_anything_runs():
    assert check_observers(["perf", "mine:Observer"]) == ("perf", "mine:Observer")
    with pytest.raises(TuneError, match=r"no observer 'perv'(.|\n)*did you mean perf"):
        check_observers(["perv"])
    with pytest.raises(TuneError, match="no observer"):
        CpuRunner(observers=["watt"])


PLUGIN = """
class Steps:
    def start(self): self.begun = True
    def stop(self): return {"steps": 4.0}
"""


def test_a_plug_in_watches_and_one_that_is_blind_is_told_once(tmp_path, monkeypatch):
    (tmp_path / "watching.py").write_text(PLUGIN)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with CpuRunner(jobs=1, observers=["watching:Steps", "gone:Nothing"]) as runner:
        given = [RELU.candidate(FirstKnobs(), runner.spec)]
        with pytest.warns(ObserverWarning, match="observer gone:Nothing sees nothing here: .*No module"):
            ((_, trial),) = runner.run(RELU, given, None)
        assert set(trial.extra["observed"]) == {"watching:Steps"}
        assert trial.extra["observed"]["watching:Steps"]["steps"] > 0
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            ((_, trial),) = runner.run(RELU, given, None)
    assert trial.status == "correct"
