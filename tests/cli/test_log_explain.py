"""``flashsched log explain`` and ``log diff``, as they are used."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flashsched.tune.logs.log import TuningLog
from flashsched.tune.task import Task

from .conftest import record

Cli = Callable[..., Any]


@pytest.fixture
def relu(cli: Cli, tmp_path: Path) -> Path:
    """A log of one workload, simulated."""
    words = ("relu", "--shape", "16,64", "--device", "cpu-xeon", "--trials", "3", "--log", "relu.jsonl", "-q")
    assert cli("tune", *words).code == 0
    return tmp_path / "relu.jsonl"


def test_explain_the_one_workload_of_a_log(cli: Cli, relu: Path) -> None:
    done = cli("log", "explain", relu, "-q")
    assert (done.code, done.err) == (0, "")
    assert "relu 16,64 float32 on cpu-xeon-sim" in done.out
    assert "without one step" in done.out
    assert cli("log", "explain", relu, "relu", "--shape", "16,64", "-q").out == done.out


def test_explain_as_json(cli: Cli, relu: Path) -> None:
    document = json.loads(cli("log", "explain", relu, "--json", "--orders", "2", "--seed", "1").out)
    assert document["source"] == "simulated"
    assert document["orders"]["seed"] == 1
    assert document["bytes"]


def test_explain_a_miss(cli: Cli, relu: Path) -> None:
    done = cli("log", "explain", relu, "relu", "--shape", "16,128", "-q")
    assert done.code == 0
    assert "no record of relu 16,128 float32 for cpu-xeon-sim fits" in done.out
    assert "is for shape 16,64 (1)" in done.out
    other = json.loads(cli("log", "explain", relu, "relu", "--shape", "16,64", "--device", "a100", "--json").out)
    assert other["missed"][0]["differences"][0]["what"] == "device"


def test_explain_wants_a_name_where_a_log_is_about_several(cli: Cli, relu: Path) -> None:
    TuningLog(relu).append(record(), record(task={**Task("add", (4, 4)).to_json(), "op": "mine"}))
    done = cli("log", "explain", relu)
    assert done.code == 2
    assert "is about 3 workloads; name one:" in done.err
    assert "matmul --shape 8,8,8 --dtype float32 --device cpu" in done.err
    assert cli("log", "explain", relu, "--shape", "4,4").code == 2


def test_explain_says_what_it_cannot_make_anew(cli: Cli, tmp_path: Path) -> None:
    TuningLog(tmp_path / "x.jsonl").append(record(task={**Task("add", (4, 4)).to_json(), "op": "mine"}))
    done = cli("log", "explain", "x.jsonl")
    assert (done.code, "mine is no operator that is known here" in done.err) == (2, True)
    (tmp_path / "empty.jsonl").touch()
    assert "has no valid record" in cli("log", "explain", "empty.jsonl").err
    assert cli("log", "explain", "gone.jsonl").code == 2


def test_diff_of_two_logs_and_of_two_records(cli: Cli, log: Path, tmp_path: Path) -> None:
    TuningLog(tmp_path / "other.jsonl").append(record(0, 4e-3))
    done = cli("log", "diff", log, "other.jsonl")
    assert done.code == 0
    assert "matmul 8,8,8 float32 on cpu" in done.out
    assert "4.00×" in done.out
    ids = [trial["record_id"] for trial in json.loads(cli("report", log, "--json").out)["trials"]]
    document = json.loads(cli("log", "diff", f"{log}#{ids[0]}", f"{log}#{ids[1][:12]}", "--json").out)
    assert document["ratio"] == pytest.approx(1 / 3)
    assert (document["old"]["trial"], document["new"]["trial"]) == (0, 1)
    assert "must be two logs, or two records" in cli("log", "diff", f"{log}#{ids[0]}", log).err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("{log}", "gone.jsonl"), "no log at"),
        (("{log}#no", "{log}"), "has no record"),
        (("{log}", "{log}#"), "whose id begins with"),
    ],
)
def test_diff_used_wrongly(cli: Cli, log: Path, words: tuple[str, str], says: str) -> None:
    done = cli("log", "diff", *(word.format(log=log) for word in words))
    assert (done.code, says in done.err) == (2, True)
