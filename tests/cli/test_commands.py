"""The other commands, as they are used."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flashsched.hw import DeviceSpec
from flashsched.tune.logs.log import TuningLog, read

from .conftest import record

Cli = Callable[..., Any]


def damage(log: Path, line: int) -> None:
    """Change a byte within a line, counted from 1."""
    lines = log.read_bytes().splitlines(keepends=True)
    lines[line - 1] = lines[line - 1].replace(b"matmul", b"MATMUL", 1)
    log.write_bytes(b"".join(lines))


# -- report ----------------------------------------------------------------------------------------------------------


def test_report_as_text(cli: Cli, log: Path) -> None:
    done = cli("report", log)
    assert (done.code, done.err) == (0, "")
    assert "8×8×8" in done.out
    assert "1.00 ms" in done.out
    assert "not valid: 1 compile" in done.out


def test_report_of_a_folder_and_of_a_log_named_twice(cli: Cli, log: Path) -> None:
    assert cli("report", log.parent).out == cli("report", log, log).out


def test_report_as_json(cli: Cli, log: Path) -> None:
    document = json.loads(cli("report", log, "--json").out)
    assert document["logs"] == [str(log)]
    assert document["summary"][0]["time_s"] == 1e-3
    assert [trial["time_s"] for trial in document["trials"]] == [3e-3, 1e-3, 2e-3, None]
    assert document["trials"][0]["shape"] == [8, 8, 8]


def test_report_as_csv(cli: Cli, log: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(cli("report", log, "--csv").out)))
    assert [row["status"] for row in rows] == ["correct", "correct", "correct", "compile"]


def test_report_as_a_page(cli: Cli, log: Path, tmp_path: Path) -> None:
    done = cli("report", log, "--html", "page.html")
    assert (done.code, done.out, done.err) == (0, "", "wrote page.html: 4 trials of 1 log\n")
    assert (tmp_path / "page.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_report_never_writes_over_a_log(cli: Cli, log: Path) -> None:
    before = log.read_bytes()
    assert cli("report", log, "--html", log).code == 2
    assert log.read_bytes() == before


def test_report_shows_a_finalist_once_and_as_it_was_timed_in_the_end(cli: Cli, tmp_path: Path) -> None:
    first = record(0, 1e-3)
    TuningLog(tmp_path / "x.jsonl").append(first, record(0, 4e-3, extra={"retimes": first.record_id}))
    document = json.loads(cli("report", "x.jsonl", "--json").out)
    assert [trial["time_s"] for trial in document["trials"]] == [4e-3]


def test_a_damaged_line_is_skipped_with_a_warning(cli: Cli, log: Path) -> None:
    damage(log, 2)
    done = cli("report", log)
    assert done.code == 0
    assert "2.00 ms" in done.out
    assert done.err == f"warning: {log}:2: skipped: the checksum does not fit the line\n"


# -- log -------------------------------------------------------------------------------------------------------------


def test_verify_tells_what_a_log_holds(cli: Cli, log: Path) -> None:
    done = cli("log", "verify", log)
    assert (done.code, done.out) == (0, f"{log}: whole; 4 records, 1 task, 3 correct, 1 compile\n")


def test_of_a_file_that_is_no_log_a_few_lines_are_told(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "prose.jsonl").write_text("once upon a time\n" * 40)
    done = cli("report", "prose.jsonl")
    assert (done.code, done.out) == (0, "no trials\n")
    lines = done.err.splitlines()
    assert len(lines) == 6
    assert "prose.jsonl:5: skipped: not JSON" in lines[4]
    assert "flashsched log verify" in lines[5]


def test_verify_ends_with_1_at_a_damaged_line(cli: Cli, log: Path) -> None:
    damage(log, 3)
    done = cli("log", "verify", log)
    assert done.code == 1
    assert "1 DAMAGED line;" in done.out
    assert "  line 3: the checksum does not fit the line" in done.out
    (document,) = json.loads(cli("log", "verify", log, "--json").out)
    assert (document["ok"], document["damaged"][0]["line"]) == (False, 3)


def test_merge_puts_logs_together_once(cli: Cli, log: Path, tmp_path: Path) -> None:
    TuningLog(tmp_path / "other.jsonl").append(record(7, 5e-3))
    done = cli("log", "merge", "all.jsonl", log, "other.jsonl", log)
    assert (done.code, "5 records" in done.out) == (0, True)
    assert cli("log", "merge", "all.jsonl", log).out == done.out


def test_compact_keeps_the_best(cli: Cli, log: Path) -> None:
    done = cli("log", "compact", log, "--keep", "1")
    assert (done.code, done.out) == (0, f"{log}: 1 record kept, 3 dropped\n")
    assert [item.median_s for item in read(log)] == [1e-3]


# -- devices ---------------------------------------------------------------------------------------------------------


def test_devices_lists_them(cli: Cli) -> None:
    out = cli("devices").out
    assert {line.split()[0] for line in out.splitlines()[1:]} >= {"cpu", "a100-sim"}
    assert {row["name"] for row in json.loads(cli("devices", "--json").out)} >= {"cpu", "a100-sim"}


def test_a_device_by_another_name(cli: Cli) -> None:
    assert cli("devices", "nvidia-a100").out == cli("devices", "a100-sim").out
    assert json.loads(cli("devices", "gpu-a100", "--json").out)["units"] == 108
    assert "units                     54 " in cli("devices", "a100-sim[units=54]").out


def test_a_device_as_a_file_that_can_be_changed_and_checked(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(cli("devices", "a100", "--toml").out, encoding="utf-8")
    assert DeviceSpec.from_toml(path).units == 108
    assert cli("devices", "--check", path).out.startswith(f"{path}: a sound device")
    path.write_text(path.read_text(encoding="utf-8").replace("units = 108", "units = -1"), encoding="utf-8")
    done = cli("devices", "--check", path)
    assert (done.code, "units" in done.err) == (2, True)


@pytest.mark.parametrize(
    ("figures", "says"),
    [
        ("[peaks]\nint8 = 1248e12", "vendors quote twice the dense rate for sparse operands"),
        ("[peaks]\nfloat32 = 50e12", "at most what the schedulers issue on the plain cores"),
        (
            '[[memory]]\nname = "l2"\nlatency_s = 1e-9',
            "memory.l2.latency_s is 1e-09; it must be at least that of 'shared'",
        ),
        ('[[memory]]\nname = "l2"\nsize_bytes = 1000', "memory.l2.size_bytes is 1000; it must be at least"),
        ("clok_hz = 1e9", "unknown field clok_hz\n  hint: did you mean clock_hz?"),
    ],
)
def test_a_device_that_contradicts_itself_is_refused(cli: Cli, tmp_path: Path, figures: str, says: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(f'base = "a100"\nname = "mine-sim"\n{figures}\n', encoding="utf-8")
    done = cli("devices", "--check", path)
    assert (done.code, done.out) == (2, "")
    assert says in done.err


def test_a_device_of_the_user_s_folder_is_one_like_any_other(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLASHSCHED_DEVICES", str(tmp_path))
    (tmp_path / "mine.toml").write_text('base = "tpu-v4"\nname = "mine-sim"\nlaunch_s = 2e-6', encoding="utf-8")
    assert "mine-sim" in cli("devices").out
    assert cli("devices", "mine-sim").out.startswith("mine-sim")
    assert json.loads(cli("devices", "mine", "--json").out)["launch_s"] == 2e-6


# -- show ------------------------------------------------------------------------------------------------------------

SHOWN = {
    "te": "C[i<8, j<16] = ",
    "python": "s = te.create_schedule(C)",
    "loops": "for k in range(4)",
    "lowered": "def matmul(A: float32[8, 4], B: float32[4, 16], C: float32[8, 16]):",
    "llvm": "define ",
    "llvm-optimized": "define ",
    "asm": ".text",
}


@pytest.mark.parametrize(("stage", "text"), SHOWN.items())
def test_show_each_stage(cli: Cli, stage: str, text: str) -> None:
    done = cli("show", "matmul", "--shape", "8,16,4", "--stage", stage)
    assert (done.code, text in done.out) == (0, True)


def test_show_each_pass_with_its_time(cli: Cli) -> None:
    from flashsched.codegen.lower import PASSES

    out = cli("show", "relu", "--shape", "4,4", "--passes").out
    assert [line.split()[1] for line in out.splitlines() if line.startswith("== ")] == [
        "scheduled",
        *(name for name, _ in PASSES),
    ]
    assert "(unchanged)" in out


def test_show_options_of_the_operator(cli: Cli) -> None:
    words = ("show", "matmul", "--shape", "8,8,8", "--stage", "te")
    done = cli(*words, "--bias", "--activation", "relu")
    assert "bias: float32[8]" in done.out
    assert "max(" in done.out
    assert done.out == cli(*words, "-o", "bias=true", "--option", "activation=relu").out


# -- simulate --------------------------------------------------------------------------------------------------------


def test_simulate_predicts_and_writes_nothing(cli: Cli, tmp_path: Path) -> None:
    words = ("simulate", "relu", "--shape", "8,8", "--device", "cpu-xeon", "--trials", "2", "-q")
    done = cli(*words)
    assert (done.code, done.err) == (0, "")
    assert "relu 8,8 float32 on cpu-xeon-sim, simulated" in done.out
    assert "limited by" in done.out
    document = json.loads(cli(*words, "--json").out)
    assert 0 < document["roofline_s"] <= document["time_s"]
    assert document["source"] == "simulated"
    assert document["how"] == "best of 2 schedules"
    assert list(tmp_path.iterdir()) == []


def test_simulate_takes_the_operators_model_where_there_is_one(cli: Cli) -> None:
    words = ("simulate", "softmax", "--shape", "4096,1024", "--device", "a100")
    done = cli(*words)
    assert (done.code, done.err) == (0, "")
    assert "simulated: the vendor's library" in done.out
    assert "±" in done.out
    assert "occupancy" not in done.out
    document = json.loads(cli(*words, "--json").out)
    assert (document["how"], document["waves"]) == ("library", None)
    assert document["error_pct"] > 0


def test_simulate_says_when_it_searches(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flashsched.tune.comparison.simulate.TRIALS", 2)
    done = cli("simulate", "transpose", "--shape", "8,8", "--device", "cpu-xeon")
    assert done.code == 0
    assert "no operator model speaks of transpose 8,8 float32 on cpu-xeon-sim" in done.err
    assert "best of 2 schedules" in done.out
    done = cli("simulate", "relu", "--device", "cpu-xeon", "--log", "x.jsonl", "--trials", "3")
    assert (done.code, "give one of them" in done.err) == (2, True)


def test_simulate_the_best_of_a_log(cli: Cli) -> None:
    words = ("relu", "--shape", "4,32", "--device", "cpu-xeon")
    cli("tune", *words, "--trials", "2", "--log", "x.jsonl", "-q")
    done = cli("simulate", *words, "--log", "x.jsonl")
    assert (done.code, "best of x.jsonl" in done.out) == (0, True)
    done = cli("simulate", "relu", "--shape", "5,5", "--device", "cpu-xeon", "--log", "x.jsonl")
    assert (done.code, "no record of relu 5,5 float32" in done.err) == (2, True)


# -- doctor ----------------------------------------------------------------------------------------------------------


def test_doctor_knows_the_machine(cli: Cli) -> None:
    document = json.loads(cli("doctor", "--json").out)
    assert document["ok"] is True
    assert document["problems"] == []
    assert document["processor"]["cores"] >= 1
    assert document["measured"]["fma_flops"]["float32"] > 1e8
    assert document["noise"]["spread"] >= 0
    assert set(document["versions"]) >= {"python", "llvmlite", "optuna"}


def test_doctor_tells_what_is_broken(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from flashsched.cli import doctor

    monkeypatch.setitem(doctor._PACKAGES, "nothing", "there_is_no_such_module")
    done = cli("doctor")
    assert done.code == 1
    assert "PROBLEM: nothing cannot be imported: ModuleNotFoundError" in done.out


def test_doctor_where_nothing_can_be_kept(ended: Cli) -> None:
    done = ended("doctor", env={"FLASHSCHED_CACHE": "off", "FLASHSCHED_NUM_THREADS": "none"})
    assert done.code == 1
    assert "remark: FLASHSCHED_CACHE=off" in done.out
    assert "PROBLEM: FLASHSCHED_NUM_THREADS='none' is not a whole number" in done.out
