"""clang, where it is installed: C to LLVM text, for the import_llvm pragma of tensorized code."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from flashsched.errors import KernelError

__all__ = ["create_llvm", "find_clang"]


def find_clang(required: bool = True) -> list[str]:
    """The paths of the clangs that are installed.

    Raises:
        KernelError: there is none, and one is *required*.
    """
    names = ["clang", *(f"clang-{version}" for version in range(30, 10, -1))]
    found = [path for path in map(shutil.which, names) if path]
    if required and not found:
        raise KernelError(
            "clang is not installed, and C becomes LLVM text with nothing else",
            hint="install clang, or write the function as LLVM text yourself and give that to the pragma",
        )
    return found


def create_llvm(
    inputs: str | Sequence[str], output: str | None = None, options: Sequence[str] | None = None, cc: str | None = None
) -> str:
    """LLVM text of C sources (paths, or the text of one); also written to *output*, where that is given.

    Raises:
        KernelError: clang is not installed, or refuses the sources.
    """
    compiler = cc or find_clang()[0]
    texts = [inputs] if isinstance(inputs, str) else list(inputs)
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for number, text in enumerate(texts):
            if "\n" not in text and Path(text).is_file():
                paths.append(text)
            else:
                paths.append(str(Path(folder) / f"input{number}.cc"))
                Path(paths[-1]).write_text(text, encoding="utf-8")
        made = Path(output) if output else Path(folder) / "output.ll"
        done = subprocess.run(
            [compiler, "-S", "-emit-llvm", "-o", str(made), *(options or ()), *paths],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise KernelError(f"{compiler} refuses the code: {done.stderr.strip()}")
        return made.read_text(encoding="utf-8")
