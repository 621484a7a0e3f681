"""Modules in files.

A file is an object file or a shared library with a zip archive behind it (which linkers and loaders do not look at).
The archive holds what `load_module` needs: the object code, the LLVM text that it came from, the parameters. So a file
can be linked into other programs, and is loaded without a linker or a C compiler; where there is no compiler, the
shared library is just the archive. Code that runs in parallel calls flashsched's runtime, which exists in a Python
process only.

A module is machine code: load it only from where you would install a program.
"""

from __future__ import annotations

import io
import os
import pickle
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flashsched.codegen import object_cache
from flashsched.codegen.externs import symbol
from flashsched.codegen.jit import load_compiled
from flashsched.codegen.kernel import Kernel
from flashsched.codegen.target import Target, host_target
from flashsched.compat.tvm.runtime.module import Function, Module
from flashsched.errors import KernelError

__all__ = ["INDEX", "archive_of", "export", "load_module", "write_archive", "write_object"]

INDEX = "index.pickle"
"""What the functions of an archive are called, take and were compiled for."""

_ASKED = ("scalars", "needs", "passed", "may_lack_memory", "brief")


def _archive(functions: Mapping[str, Function]) -> dict[str, bytes]:
    """The files of the archive of *functions*, by name."""
    files: dict[str, bytes] = {}
    index = []
    for number, (name, function) in enumerate(functions.items()):
        kernel = function.kernel
        module = kernel.module
        if symbol(0) in module.ir_text:
            raise KernelError(
                f"{name} calls a Python function, which no file can hold", hint="build it in the process that runs it"
            )
        code, _ = object_cache.object_code(module.ir_text, module.target)
        files[f"{number}.o"], files[f"{number}.ll"] = code, module.ir_text.encode()
        known = {key: getattr(kernel.caller, key) for key in _ASKED}
        index.append(
            {
                "name": name,
                "entry": kernel.name,
                "order": function.order,
                "params": kernel.params,
                "target": module.target,
                "known": known,
                "file": number,
            }
        )
    files[INDEX] = pickle.dumps(index)
    return files


def write_archive(path: Path, files: Mapping[str, bytes]) -> None:
    """Put an archive behind what *path* holds."""
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    with path.open("ab") as file:
        file.write(memory.getvalue())


def archive_of(path: Path) -> dict[str, bytes]:
    """The archive behind *path*.

    Raises:
        KernelError: there is no such file, or it holds no module.
    """
    if not path.is_file():
        raise KernelError(f"there is no file {path}")
    if not zipfile.is_zipfile(path):
        raise KernelError(
            f"{path} holds no module of flashsched",
            hint="write it with mod.save, mod.export_library or cc.create_shared",
        )
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write_object(functions: Mapping[str, Function], path: Path) -> None:
    """Write an object file, its archive behind it."""
    files = _archive(functions)
    if len(functions) == 1:
        path.write_bytes(files["0.o"])
    else:  # object files of several functions are linked from their parts, see `contrib.cc`
        path.write_bytes(b"")
    write_archive(path, files)


def export(functions: Mapping[str, Function], path: Path, fcompile: Any = None) -> None:
    """Write a shared library of *functions*, linked with *fcompile* or the C compiler where there is one."""
    from flashsched.compat.tvm.contrib import cc

    with tempfile.TemporaryDirectory() as folder:
        objects = []
        for number, (name, function) in enumerate(functions.items()):
            objects.append(os.path.join(folder, f"lib{number}.o"))
            write_object({name: function}, Path(objects[-1]))
        made = Path(folder) / path.name
        if fcompile is None or fcompile is cc.create_shared:
            cc.create_shared(str(made), objects)
        else:
            fcompile(str(made), objects)
            write_archive(made, cc.merged_archives(objects))
        shutil.move(made, path)


def load_module(path: str, fmt: str = "") -> Module:
    """The module in a file that `Module.save`, `Module.export_library` or `cc.create_shared` wrote.

    Raises:
        KernelError: there is no such file, it holds no module, or one for another CPU.
    """
    files = archive_of(Path(path))
    functions: dict[str, Function] = {}
    for entry in pickle.loads(files[INDEX]):
        _require_target(entry["target"], path)
        code, text = files[f"{entry['file']}.o"], files[f"{entry['file']}.ll"].decode()
        module = load_compiled(code, text, entry["target"])
        kernel = Kernel(module, entry["params"], entry["entry"], **entry["known"])
        functions[entry["name"]] = Function(entry["name"], kernel, entry["order"])
    return Module(functions)


def _require_target(target: Target, path: str) -> None:
    here = host_target()
    lacking = _features(target) - _features(here) if target.cpu == here.cpu else set()
    if target.triple != here.triple or target.vector_bits > here.vector_bits or lacking:
        raise KernelError(
            f"{path} was compiled for {target.cpu} ({target.triple}), and this machine is {here.cpu} ({here.triple})",
            hint='build it here, or for a CPU that both include: tvm.build(…, target="llvm -mcpu=x86-64-v3")',
        )


def _features(target: Target) -> set[str]:
    return {feature[1:] for feature in target.features.split(",") if feature.startswith("+")}
