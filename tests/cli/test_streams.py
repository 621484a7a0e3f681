"""Odd surroundings: a reader that leaves, a stream that is closed or full, a plain encoding, no home."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., Any]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="shells and devices of POSIX")


def shell(command: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    line = command.replace("flashsched", f"{sys.executable} -m flashsched")
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", line],
        cwd=cwd,
        capture_output=True,
        text=True,
        env={**os.environ, **env},
        timeout=60,
    )


def test_a_reader_that_leaves_is_no_failure(log: Path) -> None:
    for command in ("devices a100-sim", "tune --help", "show relu --stage asm", ""):
        done = shell(f"flashsched {command} 2>&1 | head -n 1", log.parent)
        assert (done.returncode, len(done.stdout.splitlines())) == (0, 1)
    done = shell("(sleep 1; flashsched devices a100-sim) | true", log.parent)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("stream", [">&-", "2>&-", "<&-", ">&- 2>&-"])
def test_a_closed_stream_is_no_failure(log: Path, stream: str) -> None:
    done = shell(f"flashsched log verify {log} {stream}", log.parent)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
def test_a_full_standard_output_is_a_sentence(log: Path) -> None:
    done = shell(f"flashsched log verify {log} > /dev/full", log.parent)
    assert done.returncode == 1
    assert done.stderr == "error: cannot write to standard output: No space left on device\n"


def test_a_plain_encoding_gets_plain_characters(log: Path) -> None:
    done = shell(f"flashsched report {log}", log.parent, PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert (done.returncode, done.stderr) == (0, "")
    assert "8x8x8" in done.stdout


def test_no_home(log: Path) -> None:
    done = shell("unset HOME; flashsched show relu --shape 4,4 --stage asm", log.parent)
    assert (done.returncode, "relu" in done.stdout) == (0, True)


def test_version_and_help_come_at_once(ended: Cli) -> None:
    assert ended("--version").out.startswith("flashsched ")
    plain, asked = ended(), ended("--help")
    assert plain == asked
    assert plain.code == 0


def test_an_ignored_interrupt_stays_ignored(tmp_path: Path) -> None:
    program = (
        "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "from flashsched.cli import main\n"
        "import flashsched.cli.doctor as d, os\n"
        "d._noise = lambda: os.kill(os.getpid(), signal.SIGINT) or {}\n"
        "raise SystemExit(main(['doctor']))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
