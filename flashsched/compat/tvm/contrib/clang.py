"""C to LLVM text, for the ``import_llvm`` pragma: by clang, where it is installed.

Where only another C++ compiler is, the code is compiled to a shared library that this process loads. Kernels then call
its functions there: they compute the same, and are not inlined.
"""

from __future__ import annotations

import ctypes
import hashlib
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

from flashsched.compat.tvm.contrib import cc as linker
from flashsched.errors import KernelError

__all__ = ["create_llvm", "find_clang"]

_loaded: dict[str, ctypes.CDLL] = {}


def find_clang(required: bool = True) -> list[str]:
    """The paths of the clangs that are installed.

    Raises:
        KernelError: there is none, and one is *required*.
    """
    names = ["clang", *(f"clang-{version}" for version in range(30, 10, -1))]
    found = [path for path in map(shutil.which, names) if path]
    if required and not found:
        raise KernelError(
            "clang is not installed, and nothing else makes LLVM text of C",
            hint="install clang, or write the function as LLVM text yourself and give that to the pragma",
        )
    return found


def create_llvm(
    inputs: str | Sequence[str], output: str | None = None, options: Sequence[str] | None = None, cc: str | None = None
) -> str:
    """LLVM text of C++ sources (paths, or the text of one); also written to *output*, where that is given.

    Without clang, but with another compiler, a warning says that the functions are called and not inlined; the text
    then defines none of them, and holds for this process.

    Raises:
        KernelError: there is no compiler, or it refuses the sources.
    """
    found = [cc] if cc else find_clang(required=linker.get_cc() is None)
    items = [inputs] if isinstance(inputs, str) else list(inputs)
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for number, item in enumerate(items):
            if "\n" not in item and Path(item).is_file():
                paths.append(item)
            else:
                paths.append(str(Path(folder) / f"input{number}.cc"))
                Path(paths[-1]).write_text(item, encoding="utf-8")
        if found:
            made = Path(folder) / "output.ll"
            _run([found[0] or "", "-S", "-emit-llvm", "-O2", "-o", str(made), *(options or ()), *paths])
            text = made.read_text(encoding="utf-8")
        else:
            text = _loaded_text(paths, list(options or ()))
    if output is not None:
        Path(output).write_text(text, encoding="utf-8")
    return text


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise KernelError(f"{command[0]} refuses the code: {done.stderr.strip()}")


def _loaded_text(paths: list[str], options: list[str]) -> str:
    """Load the code of *paths* into this process, and give LLVM text that says so."""
    compiler = linker.get_cc()
    assert compiler is not None
    key = hashlib.sha256(
        "\n".join([*options, *(Path(p).read_text(encoding="utf-8") for p in paths)]).encode()
    ).hexdigest()
    if key not in _loaded:
        with tempfile.TemporaryDirectory() as folder:
            library = str(Path(folder) / f"code-{key[:16]}.so")
            _run([compiler, "-O3", "-march=native", "-shared", "-fPIC", "-o", library, *options, *paths])
            _loaded[key] = ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL)
    warnings.warn(
        f"clang is not installed: {compiler} compiled the code, and kernels call its functions without inlining them",
        stacklevel=3,
    )
    return (
        f"; Code that {compiler} compiled, loaded into this process; its functions are called there.\n"
        f"define void @loaded.{key[:16]}() {{\n  ret void\n}}\n"
    )
