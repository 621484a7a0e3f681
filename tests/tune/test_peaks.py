"""Peaks of this machine that a kernel beats were measured too low: they are measured again and kept, which is told."""

from __future__ import annotations

from pathlib import Path

import pytest

import flashsched as fs
from flashsched.codegen import probe
from flashsched.hw import Measured, devices, host_fingerprint, host_spec, load_measured, probe_host, save_measured
from flashsched.hw.roofline import roofline_s
from flashsched.tune import tuner
from flashsched.tune.logs.log import read
from flashsched.tune.measuring.cpu_runner import CpuRunner
from flashsched.tune.measuring.peaks import measured_again, too_good
from flashsched.tune.task import Task
from flashsched.tune.trial import Trial

TASK = Task("gelu", (16, 16))


def figures(peak: float, **changes: object) -> Measured:
    cores = probe_host().cores
    given: dict[str, object] = {
        "fingerprint": host_fingerprint(), "cores": cores,
        "fma_flops": {"float32": peak, "float64": peak / 2}, "fma_flops_all": {"float32": cores * peak},
        "bandwidth": {"l1": 1e12, "dram": 1e11}, "bandwidth_all": {"dram": cores * 1e11},
    }  # fmt: skip
    return Measured(**(given | changes))  # type: ignore[arg-type]


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A user's cache folder with figures that are too low, and what the probe finds next."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    save_measured(figures(1e9))
    found = {"next": figures(8e9), "times": 0}

    def measure() -> Measured:
        found["times"] += 1
        return found["next"]

    monkeypatch.setattr(probe, "measure", measure)
    return found


class Instant(CpuRunner):
    """A measuring runner that knows how long everything takes."""

    def __init__(self, seconds: float) -> None:
        self.spec, self.batch, self.seconds = devices["cpu"], 4, seconds

    def __exit__(self, kind, error, trace) -> None:
        return None

    def target(self):
        return {"cpu": "test"}

    def prepare(self, task) -> None:
        return None

    def run(self, task, candidates, best_s, beside=()):
        for index in range(len(candidates)):
            yield index, Trial("correct", [self.seconds], None, {"max_error": 0.0, "tolerance": 1.0})

    def finals(self, task, candidates):
        return [trial for _, trial in self.run(task, candidates, None)]


def tuned(monkeypatch, seconds: float, **options):
    monkeypatch.setattr(tuner, "runner_for", lambda device, seed=0, jobs=None: Instant(seconds))
    return fs.tune(TASK, trials=3, warm_start=False, pretrained=False, **options)


def least_s() -> float:
    """The roofline of the task by the figures that are kept."""
    return roofline_s(devices["cpu"], {"float32": float(TASK.flops)}, float(TASK.bytes), warm=True)


def test_the_kept_figures_make_the_device(machine):
    assert load_measured() == figures(1e9)
    assert devices["cpu"].peak("float32") == probe_host().cores * 1e9
    assert devices["cpu"].source_of("peaks.float32").status == "measured"


def test_measured_again_the_higher_figure_is_kept(machine):
    machine["next"] = figures(8e9, bandwidth={"l1": 5e11, "dram": 2e11})
    spec = measured_again()
    kept = load_measured()
    assert kept.fma_flops["float32"] == 8e9
    assert kept.bandwidth == {"l1": 1e12, "dram": 2e11}  # each by itself
    assert spec == devices["cpu"] == host_spec(kept)
    machine["next"] = figures(2e9)
    measured_again()
    assert load_measured() == kept  # a busy machine takes nothing away


def test_figures_of_other_cores_do_not_count(machine):
    save_measured(figures(9e9, cores=probe_host().cores + 1))
    measured_again()
    assert load_measured() == machine["next"]


def test_a_cache_that_cannot_be_written_stops_nothing(machine, monkeypatch):
    def refused(measured: Measured, path: Path | None = None) -> Path:
        raise PermissionError("read-only")

    monkeypatch.setattr("flashsched.tune.measuring.peaks.save_measured", refused)
    assert measured_again().peak("float32") == probe_host().cores * 8e9
    assert load_measured() == figures(1e9)


def test_a_run_that_beats_the_roofline_measures_again_once(machine, monkeypatch, tmp_path):
    before = least_s()
    result = tuned(monkeypatch, before / 2, log=tmp_path / "log.jsonl")
    assert machine["times"] == 1
    (note,) = result.notes
    assert note.startswith("the best reached 200 % of the roofline, so the machine's peaks were measured again: now it")
    assert "over 100 %" not in note
    assert least_s() < before / 2  # kept: the next run starts from it
    told = [record.extra["roofline_s"] for record in read(tmp_path / "log.jsonl")]
    assert told[:3] == [before, least_s(), least_s()]  # the first trial showed it, and those after know
    assert result.best.extra["roofline_s"] == least_s()
    assert tuned(monkeypatch, before / 2).notes == ()
    assert machine["times"] == 1


def test_a_run_that_still_beats_it_says_so(machine, monkeypatch):
    machine["next"] = figures(1e9)
    (note,) = tuned(monkeypatch, least_s() / 2).notes
    assert "now it is 200 %, still over 100 %; the peaks are too low, as on a machine that is busy" in note
    assert machine["times"] == 1


def test_noise_is_no_reason_and_neither_is_another_machine(machine, monkeypatch):
    least = least_s()
    assert tuned(monkeypatch, least / 1.03).notes == ()
    assert machine["times"] == 0
    here = Instant(least)
    assert too_good(here, least, least / 1.05)
    here.spec = devices["a100-sim"]
    assert not too_good(here, least, least / 2)
    from flashsched.tune.spaces.runner import TableRunner
    from flashsched.tune.spaces.table import load_space

    table = TableRunner(load_space("softmax"))
    assert (table.source, table.spec.kind) == ("measured", "cpu")
    assert not too_good(table, least, least / 2)
