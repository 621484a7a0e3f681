"""What the tests of saved kernels share: compilers of C, and programs compiled with them against a saved kernel."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

STRICT = ("-Wall", "-Wextra", "-Werror", "-pedantic")


def tool(*names: str) -> str:
    """The path of the first of these programs that is there; without any, the test is skipped."""
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.skip(f"needs {' or '.join(names)}")
    return found


@pytest.fixture(scope="session")
def cc() -> str:
    return tool("cc", "gcc", "clang")


@pytest.fixture
def run_c(tmp_path: Path, cc: str) -> Callable[..., str]:
    """``run_c(text, "mm.o", …)`` compiles a C99 program with the files of the test's folder, runs it, gives its output.

    *compiler* and *machine* are other commands to compile and to run with.
    """

    def run(
        text: str,
        *words: str,
        compiler: str = cc,
        machine: Sequence[str] = (),
        env: dict[str, str] | None = None,
        standard: str = "c99",
    ) -> str:
        source = tmp_path / ("program.c" if standard.startswith("c9") else "program.cpp")
        source.write_text(text)
        command = [
            compiler,
            f"-std={standard}",
            *STRICT,
            "-O1",
            source.name,
            *words,
            "-o",
            "program",
            "-lm",
            "-pthread",
        ]
        made = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert made.returncode == 0, made.stderr
        done = subprocess.run(
            [*machine, str(tmp_path / "program")],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout

    return run
