from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest

import flashsched as fs
from flashsched.codegen.target import host_target
from flashsched.errors import LogError, NoRecordError, TuneError
from flashsched.hw import devices
from flashsched.te import dtypes
from flashsched.testing import programs
from flashsched.tune.load import best_record, load
from flashsched.tune.logs.log import LogWarning, TuningLog
from flashsched.tune.logs.record import Record
from flashsched.tune.search.knobs import FirstKnobs, MutatedKnobs
from flashsched.tune.task import Task

MATMUL = Task("matmul", (9, 20, 40))
HERE = host_target().to_json()


def record(name, time_s=1.0, task=MATMUL, *, final=None, trace=None, **changes):
    """A record that would be loaded here, but for *changes*; *final*: it times that record again."""
    made = task.candidate(FirstKnobs(), devices["cpu"])
    given = {
        "task": task.to_json(),
        "trace": trace if trace is not None else {**made.trace.to_json(), "decisions": made.decisions},
        "device": "cpu",
        "source": "measured",
        "status": "correct",
        "trial": 0,
        "times_s": [time_s],
        "verified": {"max_error": 0.0, "tolerance": 1.0},
        "target": HERE,
        "record_id": name,
        "extra": {} if final is None else {"retimes": final},
        "started_at": f"2026-01-01T00:00:{int(changes.pop('at', 0)):02}.000000Z",
    }
    return Record(**{**given, **changes})


def another_trace(task=MATMUL):
    import random

    first = task.candidate(FirstKnobs(), devices["cpu"])
    for seed in range(50):
        try:
            made = task.candidate(MutatedKnobs(first.decisions, random.Random(seed)), devices["cpu"])
        except fs.Infeasible:
            continue
        if made.trace != first.trace:
            return made.trace.to_json()
    raise AssertionError


@pytest.fixture
def chosen(tmp_path):
    """``chosen(*records, task=...)``: the id of the record that would be loaded, with no warning."""

    def choose(*records, task=MATMUL):
        path = tmp_path / "a.jsonl"
        path.unlink(missing_ok=True)
        TuningLog(path).append(*records)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return best_record(path, task).record_id

    return choose


# -- which one ---------------------------------------------------------------------------------------------------


def test_the_fastest(chosen):
    assert chosen(record("slow", 3.0), record("fast", 1.0), record("middle", 2.0)) == "fast"
    assert chosen(record("b", 1.0, trial=2), record("a", 1.0, trial=1)) == "a"


def test_what_was_timed_again_comes_before_what_was_not(chosen):
    records = record("lucky", 0.5), record("b", 1.0), record("c", 1.5), record("b2", 1.2, final="b")
    assert chosen(*records) == "b2"
    assert chosen(*records, record("c2", 1.1, final="c")) == "c2"


def test_what_a_run_settled_on_comes_first(chosen):
    settled = record("b2", 1.2, extra={"retimes": "b", "best": True})
    assert chosen(record("b"), record("c"), settled, record("c2", 1.1, final="c")) == "b2"


def test_a_record_whose_final_check_failed_is_out(chosen):
    wrong = {"status": "wrong", "times_s": [], "verified": None}
    assert chosen(record("a", 1.0), record("b", 2.0, trace=another_trace()), record("a2", final="a", **wrong)) == "b"
    crashed = {"status": "crash", "times_s": [], "verified": None}
    assert chosen(record("a", 1.0), record("b", 2.0), record("a2", final="a", **crashed)) == "b"


def test_a_schedule_found_wrong_later_is_out_and_one_found_right_later_is_in(chosen):
    wrong = {"status": "wrong", "times_s": [], "verified": None}
    other = record("b", 2.0, trace=another_trace())
    assert chosen(record("a", 1.0, at=1), other, record("w", at=2, **wrong)) == "b"
    assert chosen(record("a", 1.0, at=3), other, record("w", at=2, **wrong)) == "a"


def test_several_logs(tmp_path):
    for name, time_s in (("a", 2.0), ("b", 1.0)):
        TuningLog(tmp_path / f"{name}.jsonl").append(record(name, time_s))
    assert best_record([tmp_path / "a.jsonl", str(tmp_path / "b.jsonl")], MATMUL).record_id == "b"
    assert best_record(str(tmp_path / "a.jsonl"), MATMUL).record_id == "a"


def test_the_kernel_computes(tmp_path):
    for task in (MATMUL, Task("matmul", (9, 20, 40), "bfloat16", bias=True, activation="gelu"), Task("relu", (5, 7))):
        TuningLog(tmp_path / "a.jsonl").append(record(f"of {task}", task=task))
        kernel, inputs = load(tmp_path / "a.jsonl", task), task.inputs(3)
        out = kernel(*inputs)
        expected = task.operator.reference(*inputs, **task.options)
        assert out.dtype == dtypes.numpy_dtype(task.dtype)
        np.testing.assert_allclose(out.astype(np.float64), expected, rtol=2e-2, atol=1e-4)


def test_the_kernel_of_another_machine(tmp_path):
    log = tmp_path / "log.jsonl"
    task = fs.Task("relu", (4, 40))
    fs.tune(task, device="cpu", trials=1, log=log, seed=0)
    assert fs.load(log, task, target="aarch64-linux-gnu").target.arch == "aarch64"


def test_a_task_of_a_te_graph(chosen):
    mine = Task.from_te(programs.matmul(9, 20, 40), name="mine")
    assert chosen(record("a", task=mine), task=Task.from_te(programs.matmul(9, 20, 40), name="mine")) == "a"


# -- the ladder --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", [{"cpu": "i486"}, {"vector_bits": 64}])
def test_a_record_of_another_cpu_warns_and_comes_after_those_of_this_one(tmp_path, chosen, change):
    foreign = record("foreign", 0.1, target={**HERE, **change})
    assert chosen(foreign, record("here", 5.0)) == "here"
    TuningLog(tmp_path / "b.jsonl").append(foreign)
    cpu = change.get("cpu", HERE["cpu"])
    with pytest.warns(LogWarning, match=rf"matmul \(9, 20, 40\) was tuned on {cpu}, and this CPU is {HERE['cpu']}"):
        kernel = load(tmp_path / "b.jsonl", MATMUL)
    a, b = MATMUL.inputs()
    np.testing.assert_allclose(kernel(a, b), a @ b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("near", "why"),
    [
        ({"target": {**HERE, "triple": "sparc64-sun-solaris"}}, "was tuned on sparc64, and this machine is "),
        (
            {"source": "simulated", "device": "a100-sim", "target": {"device": "a100-sim"}},
            "is a simulation of a100-sim, and was never run",
        ),
        ({"status": "wrong", "times_s": [], "verified": None}, "has status 'wrong', not 'correct'"),
        ({"status": "unverified", "verified": None}, "has status 'unverified', not 'correct'"),
        ({"status": "crash", "times_s": []}, "has status 'crash', not 'correct'"),
        ({"task": Task("matmul", (9, 20, 41))}, "is for shape 9,20,41"),
        ({"task": Task("matmul", (9, 20, 40), "float64")}, "is for float64"),
        ({"task": Task("matmul", (9, 20, 40), bias=True)}, "has bias=True, not False"),
        ({"task": Task("add", (9, 20))}, "is for add"),
        ({"task": Task.from_te(programs.matmul(9, 20, 40), name="mine")}, "is for mine"),
    ],
)
def test_a_record_that_does_not_fit_is_named_and_why(tmp_path, near, why):
    TuningLog(tmp_path / "a.jsonl").append(record("near", **near))
    with pytest.raises(NoRecordError) as error:
        load(tmp_path / "a.jsonl", MATMUL)
    error.match("no record of matmul 9,20,40 float32 in .*a.jsonl; the nearest, near, " + why)
    error.match(r"flashsched tune matmul --shape 9,20,40 --dtype float32 --log .*a\.jsonl")


@pytest.mark.parametrize(
    ("nearer", "farther"),
    [
        ({"task": Task("matmul", (9, 20, 41))}, {"task": Task("matmul", (9, 20, 64))}),
        ({"task": Task("matmul", (512, 512, 512))}, {"task": Task("relu", (9, 20))}),
        ({"status": "crash", "times_s": []}, {"task": Task("matmul", (9, 20, 40), bias=True)}),
        ({"status": "crash", "times_s": []}, {"source": "simulated", "device": "a100-sim"}),
        ({"source": "simulated", "device": "a100-sim"}, {"task": Task("matmul", (9, 20, 40), "float64")}),
    ],
)
def test_the_nearest_is_named(tmp_path, nearer, farther):
    TuningLog(tmp_path / "a.jsonl").append(record("far", **farther), record("near", **nearer))
    with pytest.raises(NoRecordError, match="the nearest, near, "):
        load(tmp_path / "a.jsonl", MATMUL)


# -- logs that are not whole -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "steps",
    [
        [{"do": "split", "stage": "gone", "loop": "i", "factor": 4, "out": ["a", "b"]}],
        [{"do": "fission", "stage": "C", "out": []}],
        [{"do": "split", "stage": "C", "loop": "i", "factor": "four", "out": ["a", "b"]}],
        [{"do": "split", "stage": "C", "loop": "i", "factor": 4, "unheard_of": 1, "out": ["a", "b"]}],
        [{"no": "step"}],
        [5],
        "steps",
        5,
        None,
    ],
)
def test_a_trace_that_does_not_replay_is_passed_over_with_a_warning(tmp_path, steps):
    TuningLog(tmp_path / "a.jsonl").append(
        record("stale", 0.1, trace={"version": 1, "steps": steps}), record("good", 1.0)
    )
    with pytest.warns(LogWarning, match="record stale no longer replays, and is passed over: "):
        assert best_record(tmp_path / "a.jsonl", MATMUL).record_id == "good"


def test_a_trace_of_a_newer_version_is_passed_over(tmp_path):
    TuningLog(tmp_path / "a.jsonl").append(record("new", 0.1, trace={"version": 2, "steps": []}), record("good", 1.0))
    with pytest.warns(LogWarning, match="record new no longer replays.*: this trace has version 2"):
        assert best_record(tmp_path / "a.jsonl", MATMUL).record_id == "good"


def test_nothing_but_traces_that_do_not_replay(tmp_path):
    TuningLog(tmp_path / "a.jsonl").append(record("stale", trace={"steps": [{"do": "gone", "stage": "C"}]}))
    with (
        pytest.warns(LogWarning, match="record stale no longer replays"),
        pytest.raises(NoRecordError, match="the nearest, stale, no longer replays"),
    ):
        load(tmp_path / "a.jsonl", MATMUL)


def test_damaged_lines_are_skipped_with_a_warning(tmp_path):
    path = tmp_path / "a.jsonl"
    TuningLog(path).append(record("fast", 0.1), record("good", 1.0))
    path.write_bytes(path.read_bytes().replace(b'"fast"', b'"slow"') + b'{"torn')
    with pytest.warns(LogWarning) as told:
        assert best_record(path, MATMUL).record_id == "good"
    assert [str(w.message).split("a.jsonl")[1] for w in told] == [
        ":1: skipped: the checksum does not fit the line",
        ":3: skipped: torn: the line has no end",
    ]


def test_a_newer_major_version_is_refused(tmp_path):
    path = tmp_path / "a.jsonl"
    TuningLog(path).append(record("good"))
    with path.open("a") as file:
        file.write('{"schema":"flashsched.tuning/2","all":"new"}\n')
    with pytest.raises(LogError, match=r"a\.jsonl:2: the log has format flashsched\.tuning/2(.|\n)*upgrade"):
        load(path, MATMUL)


def test_no_log_an_empty_one_and_none_at_all(tmp_path):
    with pytest.raises(LogError, match=r"there is no log at .*gone\.jsonl"):
        load(tmp_path / "gone.jsonl", MATMUL)
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(NoRecordError, match=r"empty\.jsonl holds no record(.|\n)*flashsched tune matmul"):
        load(tmp_path / "empty.jsonl", MATMUL)
    with pytest.raises(NoRecordError, match="no log holds no record"):
        load([], MATMUL)


def test_a_record_with_fields_that_this_version_does_not_know(chosen):
    later = replace(record("later"), schema="flashsched.tuning/1.7", extra={"colour": "blue"})
    assert chosen(later) == "later"


@pytest.mark.parametrize("given", [MATMUL, None, 1, [MATMUL], ["a.jsonl", 2]])
def test_a_log_that_is_no_path_is_refused_before_anything_is_read(given):
    with pytest.raises(TuneError, match=r"(?s)a log is named by its path, got a .*the log comes first"):
        load(given, MATMUL)
