"""``flashsched replay``, as it is used."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., Any]


def test_list(cli: Cli) -> None:
    done = cli("replay", "--list")
    assert done.code == 0
    assert "blur" in done.out
    assert "points" in done.out


def test_export_and_replay_of_the_export(cli: Cli, tmp_path: Path) -> None:
    assert cli("replay", "columns", "--export", "columns.json").code == 0
    assert json.loads((tmp_path / "columns.json").read_text())["schema_version"] == "1.0.0"
    words = ("--sampler", "random-alone", "--seeds", "2", "--trials", "12", "-q")
    done = cli("replay", "columns.json", *words, "--json")
    document = json.loads(done.out)
    assert [row["strategy"] for row in document["rows"]] == ["random-alone"]
    assert [len(search["fractions"]) for search in document["searches"]] == [12, 12]
    rows = list(csv.DictReader(io.StringIO(cli("replay", "columns.json", *words, "--csv").out)))
    assert len(rows) == 24
    told = cli("replay", "columns.json", *words, "--html", "page.html")
    assert (told.code, told.err) == (0, "wrote page.html: 2 searches\n")
    assert "<svg" in (tmp_path / "page.html").read_text()
    assert "random search needs" in cli("replay", "columns.json", *words).out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("gone",), "there is no space 'gone'"),
        (("blur", "--sampler", "magic"), "unknown sampler 'magic'"),
        (("--json", "--csv"), "exclude each other"),
        (("--export", "x.json"), "takes one SPACE"),
    ],
)
def test_used_wrongly(cli: Cli, words: tuple[str, ...], says: str) -> None:
    done = cli("replay", *words)
    assert (done.code, says in done.err) == (2, True)
