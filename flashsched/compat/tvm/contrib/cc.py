"""The C compiler of the system, where there is one: linking object files to shared libraries."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flashsched.errors import KernelError

__all__ = ["create_shared", "cross_compiler", "get_cc", "merged_archives"]


def get_cc() -> str | None:
    """The path of the C compiler (``CXX``, ``CC``, g++, gcc, clang, cc); None where there is none."""
    asked = [os.environ[name] for name in ("CXX", "CC") if os.environ.get(name)]
    return next(filter(None, map(shutil.which, [*asked, "g++", "gcc", "clang++", "clang", "c++", "cc"])), None)


def create_shared(output: str, objects: Any, options: Sequence[str] | None = None, cc: str | None = None) -> None:
    """Link *objects* to the shared library *output*, which `load_module` also reads.

    Without a C compiler the file holds what `load_module` needs, and nothing else.

    Raises:
        KernelError: the linker refuses.
    """
    from flashsched.compat.tvm.runtime.library import write_archive

    items = [objects] if isinstance(objects, str) else list(objects)
    files = merged_archives(items)
    path, compiler = Path(output), cc or get_cc()
    path.unlink(missing_ok=True)
    if compiler is not None:
        done = subprocess.run(
            [compiler, "-shared", "-fPIC", "-o", output, *items, *(options or ())],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise KernelError(f"{compiler} can't link {output}: {done.stderr.strip() or done.stdout.strip()}")
    write_archive(path, files)


def merged_archives(objects: Sequence[str]) -> dict[str, bytes]:
    """The archives of those of *objects* that hold modules, as one."""
    from flashsched.compat.tvm.runtime.library import INDEX, archive_of

    index: list[dict[str, Any]] = []
    merged: dict[str, bytes] = {}
    for path in objects:
        try:
            files = archive_of(Path(path))
        except KernelError:
            if not Path(path).is_file():
                raise
            continue  # another program's object file
        for entry in pickle.loads(files[INDEX]):
            for suffix in ("o", "ll"):
                merged[f"{len(index)}.{suffix}"] = files[f"{entry['file']}.{suffix}"]
            index.append({**entry, "file": len(index)})
    merged[INDEX] = pickle.dumps(index)
    return merged


def cross_compiler(compile_func: Any, options: Any = None, **kwargs: Any) -> Any:
    """Not there: code is made for this machine."""
    raise NotImplementedError("cross_compiler is not there: code is made for this machine's architecture")
