"""``flashsched compare``, as it is used."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., Any]
WORDS = ("compare", "relu", "--shape", "64,256", "--devices", "a100-sim,t4-sim")


def test_as_text(cli: Cli) -> None:
    done = cli(*WORDS)
    assert (done.code, done.err) == (0, "")
    assert "relu 64,256 float32" in done.out
    assert "a100-sim" in done.out


def test_as_json_csv_and_a_page(cli: Cli, tmp_path: Path) -> None:
    document = json.loads(cli(*WORDS, "--json", "--price", "t4-sim=0.5").out)
    assert {row["device"] for row in document["devices"]} == {"a100-sim", "t4-sim"}
    assert next(row["cost"] for row in document["devices"] if row["device"] == "a100-sim") is None
    assert len(list(csv.DictReader(io.StringIO(cli(*WORDS, "--csv").out)))) == 2
    done = cli(*WORDS, "--html", "page.html")
    assert (done.code, done.err) == (0, "wrote page.html: 2 devices\n")
    assert "<svg" in (tmp_path / "page.html").read_text()


def test_a_log(cli: Cli) -> None:
    tuned = ("tune", "relu", "--shape", "64,256", "--device", "cpu-xeon", "--trials", "3", "--log", "x.jsonl", "-q")
    assert cli(*tuned).code == 0
    done = cli("compare", "x.jsonl", "--devices", "cpu-xeon,epyc-7763")
    assert done.code == 0
    assert "the schedules of x.jsonl" in done.out
    assert "spearman" in done.out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("compare", "relu"), "Missing option '--devices'"),
        (("compare", "relu", "--devices", "a1000"), "a100"),
        (("compare", "relu", "--devices", ","), "nothing to compare"),
        ((*WORDS, "--price", "t4-sim"), "is no DEVICE=X"),
        ((*WORDS, "--json", "--csv"), "exclude each other"),
        (("compare", "gone.jsonl", "--devices", "cpu"), "no log at"),
    ],
)
def test_used_wrongly(cli: Cli, words: tuple[str, ...], says: str) -> None:
    done = cli(*words)
    assert (done.code, says in done.err) == (2, True)
