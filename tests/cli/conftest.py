"""What the tests of the command line share: running it in this process or in one of its own, and logs to work on."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from flashsched.tune.logs.log import TuningLog
from flashsched.tune.logs.record import Record
from flashsched.tune.task import Task


@dataclass(frozen=True)
class Done:
    """What a run of the command line left."""

    code: int
    out: str
    err: str


Cli = Callable[..., Done]


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run the command line in this process, in a folder of its own."""
    from flashsched.cli import main

    monkeypatch.chdir(tmp_path)

    def run(*arguments: str | Path) -> Done:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return Done(code, said.out, said.err)

    return run


@pytest.fixture
def process(tmp_path: Path) -> Callable[..., Any]:
    """Start the command line as a process of its own, in a folder of its own, as a person would."""

    def start(*arguments: str | Path, env: dict[str, str] | None = None, **options: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "flashsched", *map(str, arguments)],
            **{
                "cwd": tmp_path,
                "stdin": subprocess.DEVNULL,
                "stdout": subprocess.PIPE,
                "stderr": subprocess.PIPE,
                "text": True,
                "encoding": "utf-8",
                "env": {**os.environ, "PYTHONIOENCODING": "utf-8", **(env or {})},
                **options,
            },
        )

    return start


@pytest.fixture
def ended(process: Callable[..., Any]) -> Cli:
    """Run the command line as a process to its end."""

    def run(*arguments: str | Path, **options: Any) -> Done:
        with process(*arguments, **options) as child:
            out, err = child.communicate(timeout=120)
        return Done(child.returncode, out or "", err or "")

    return run


def record(trial: int = 0, time_s: float = 1e-3, **changes: Any) -> Record:
    """A correct record of a small matmul."""
    fields: dict[str, Any] = {
        "task": Task("matmul", (8, 8, 8)).to_json(),
        "trace": {"steps": [], "decisions": {"tile": trial}},
        "device": "cpu",
        "source": "measured",
        "status": "correct",
        "trial": trial,
        "times_s": [time_s],
        "verified": {"max_error": 0.0, "tolerance": 1e-6},
        "extra": {"roofline_s": time_s / 4},
    }
    return Record(**{**fields, **changes})


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log of three good trials and a bad one."""
    path = tmp_path / "matmul.jsonl"
    bad: dict[str, Any] = {"status": "compile", "times_s": [], "verified": None, "error": "too many registers"}
    TuningLog(path).append(record(0, 3e-3), record(1, 1e-3), record(2, 2e-3), record(3, **bad))
    return path
