"""``file.py:NAME``: a Python file of the user's, imported by its path, and what is called NAME in it."""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from flashsched.cli.run import FAILED, USAGE, CommandError
from flashsched.errors import did_you_mean

__all__ = ["file_and_name", "named_in"]


def file_and_name(workload: str) -> tuple[Path | None, str]:
    """``dir/my_op.py:NAME`` parted at its last colon; no file if it is a plain name.

    >>> file_and_name("ops/my_op.py:scaled_add")[1], file_and_name("matmul")
    ('scaled_add', (None, 'matmul'))
    """
    file, _, name = workload.rpartition(":")
    if workload.endswith(".py"):
        file, name = workload, ""
    return (Path(file), name) if file.endswith(".py") else (None, workload)


def named_in(file: Path, name: str) -> Any:
    """What is called *name* in *file*.

    Raises:
        CommandError: no such file or name. What the file itself raises goes through.
    """
    if not file.is_file():
        raise CommandError(f"error: there is no file {file}", USAGE)
    module = _imported(file)
    if name and hasattr(module, name):
        return getattr(module, name)
    known = _workloads(module)
    if not known:
        raise CommandError(
            f"error: {file} has nothing to run: no operator, task, or function that returns tensors"
            + (f"; no {name!r} either" if name else ""),
            USAGE,
        )
    if not name:
        raise CommandError(f"error: {file} needs a name behind it\n  hint: one of {_spelled(file, known)}", USAGE)
    raise CommandError(f"error: {file} has no {name!r}\n  hint: {did_you_mean(name, known)}", USAGE)


def _spelled(file: Path, names: list[str]) -> str:
    return ", ".join(f"{file}:{name}" for name in names)


def _imported(file: Path) -> ModuleType:
    """The module of *file*, under a name of its own; what it prints goes to standard error.

    As for a script, modules beside it can be imported. It stays importable for as long as the process lives.
    """
    name = f"workload_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise CommandError(f"error: {file} cannot be imported", FAILED)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(file.resolve().parent))
    try:
        with contextlib.redirect_stdout(sys.stderr):
            spec.loader.exec_module(module)
    except SystemExit as error:
        raise CommandError(
            f"error: {file} ended the program while it was imported (exit code {error.code})\n"
            '  hint: keep its main part under if __name__ == "__main__":',
            FAILED,
        ) from None
    return module


def _workloads(module: ModuleType) -> list[str]:
    """Names in *module* that may be workloads: functions defined there, operators and tasks."""
    from flashsched.ops import Operator
    from flashsched.tune.task import Task

    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (isinstance(value, Operator | Task) or (inspect.isfunction(value) and value.__module__ == module.__name__))
    ]
