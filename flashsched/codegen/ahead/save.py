"""Kernels to files: shared libraries, object files, bitcode, LLVM text or assembler text, with a C header beside."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flashsched.codegen.ahead.record import Record
from flashsched.codegen.ahead.wrapper import require_c_name
from flashsched.errors import LibraryError

if TYPE_CHECKING:
    from flashsched.codegen.kernel import Kernel
    from flashsched.codegen.target import Target

__all__ = ["save_kernel", "save_library"]

_SUFFIXES = (".so", ".dylib", ".o", ".obj", ".bc", ".ll", ".s")


def save_library(
    path: str | os.PathLike[str],
    kernels: Mapping[str, Kernel],
    *,
    header: bool | str | os.PathLike[str] = True,
    link: Sequence[str] = (),
) -> Path:
    """Write *kernels* into one file, for C programs and for `load_library`; returns its path.

    Args:
        path: the file. Its ending says what it is: a shared library (``.so``, ``.dylib`` on macOS) that brings its
            threads along and needs nothing but the C library; an object file (``.o``, ``.obj``); LLVM's bitcode
            (``.bc``) or text (``.ll``); assembler text (``.s``). The last four need no linker.
        kernels: each under the name that its C function gets. All must be for one target.
        header: whether a C header is written beside it (``libmm.so`` has ``mm.h``), or where else.
        link: more for the linker of a shared library, such as ``["-lfoo"]`` where a kernel calls a function of libfoo.

    Raises:
        LibraryError: a name can't be a C function's; a kernel can't be saved, since it calls Python or looks at its
            indices; the kernels are for several targets; there is no linker, or it refuses.

    >>> import tempfile
    >>> import flashsched as fs
    >>> from flashsched import te
    >>> A = te.placeholder((4,), name="A")
    >>> C = te.compute((4,), lambda i: A[i] + 1.0, name="C")
    >>> kernel = fs.build(te.create_schedule(C), [A, C], target="aarch64-linux-gnu")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     written = fs.save_library(Path(folder, "ops.o"), {"plus_one": kernel})
    ...     header = written.with_name("ops.h").read_text()
    >>> print(next(line for line in header.splitlines() if line.startswith("int plus_one")))
    int plus_one(const float *FLASHSCHED_RESTRICT A, float *FLASHSCHED_RESTRICT C);
    """
    where = Path(path)
    if where.suffix not in _SUFFIXES:
        raise LibraryError(
            f"{where.name!r} does not say what to save: its ending is none of {', '.join(_SUFFIXES)}",
            hint=f"save a shared library: {where.with_suffix('.so').name}",
        )
    stem = where.stem.removeprefix("lib") if where.suffix in (".so", ".dylib") else where.stem
    target = _common_target(kernels)
    text, records = _joined(kernels, target, stem)
    content = _translated(text, where, target, link)
    _write(where, content)
    if header is not False:
        from flashsched.codegen.ahead.c_header import header_text
        from flashsched.codegen.ahead.runtime import has_threads

        beside = where.with_name(f"{stem}.h") if header is True else Path(header)
        parallel = any(map(_is_parallel, kernels.values()))
        _write(beside, header_text(beside.stem, records, has_threads(target), parallel).encode())
    return where


def save_kernel(
    kernel: Kernel,
    path: str | os.PathLike[str],
    *,
    header: bool | str | os.PathLike[str] = True,
    link: Sequence[str] = (),
) -> Path:
    """Write *kernel* alone, under its own name; see `save_library`."""
    return save_library(path, {re.sub(r"\W", "_", kernel.name, flags=re.ASCII): kernel}, header=header, link=link)


def _common_target(kernels: Mapping[str, Kernel]) -> Target:
    from flashsched.codegen.checked import CheckedKernel
    from flashsched.codegen.emit import RESERVED_NAMES

    if not kernels:
        raise LibraryError("there is no kernel to save", hint='fs.save_library("libops.so", {"matmul": kernel})')
    for name, kernel in kernels.items():
        require_c_name(name, RESERVED_NAMES)
        if isinstance(kernel, CheckedKernel):
            raise LibraryError(
                f"{name!r} checks its indices, and says where one lay outside in Python",
                hint="build it without check_bounds",
            )
        if "@fs_extern_" in kernel.llvm_ir():
            raise LibraryError(
                f"{name!r} calls a Python function (te.extern), which is not there without Python",
                hint="compute it with te.compute, or call a C function: te.call_extern",
            )
    targets = {kernel.target for kernel in kernels.values()}
    if len(targets) > 1:
        said = ", ".join(
            f"{name!r} for {kernel.target.triple} ({k.cpu})"
            for name, kernel in kernels.items()
            for k in [kernel.target]
        )
        raise LibraryError(f"the kernels are for several targets: {said}", hint="save one file for each target")
    return targets.pop()


def _is_parallel(kernel: Kernel) -> bool:
    return "@fs_parallel_for" in kernel.llvm_ir()


def _joined(kernels: Mapping[str, Kernel], target: Target, stem: str) -> tuple[str, list[Record]]:
    """One LLVM text of the *kernels*, with C functions, records and threads, and the records.

    Raises:
        LibraryError: a kernel calls a C function of a name that the file defines.
    """
    import llvmlite.binding as binding

    from flashsched.codegen.ahead.runtime import has_threads, parallel_text
    from flashsched.codegen.ahead.wrapper import wrapper_text

    prefix = re.sub(r"\W", "_", stem, flags=re.ASCII)
    prefix = prefix if prefix[:1].isalpha() else f"lib{prefix}"
    parallel = any(map(_is_parallel, kernels.values()))
    setter = f"{prefix}_set_num_threads" if parallel and has_threads(target) else None
    exported = [setter, f"{prefix}_num_threads"] if setter else []
    called: set[str] = set()
    records = []
    with ExitStack() as modules:  # closed in order: a module must not outlive its context
        context = binding.create_context()

        def parsed(text: str) -> Any:
            module = modules.enter_context(closing(binding.parse_assembly(text, context)))
            called.update(f.name for f in module.functions if f.is_declaration)
            return module

        parts = [parsed(parallel_text(target, prefix))] if parallel else []
        for name, kernel in kernels.items():
            entry, threads = f"{name}__flashsched", setter if _is_parallel(kernel) else None
            record = Record(
                name=name,
                entry=entry,
                signature=kernel.signature,
                triple=target.triple,
                cpu=target.cpu,
                needs=target.instruction_sets,
                vector_bits=target.vector_bits,
                threads=threads,
                version=version("flashsched"),
            )
            records.append(record)
            exported += [name, entry]
            parts += [parsed(kernel.llvm_ir()), parsed(_constant(f"{entry}_json", record.to_bytes()))]
            for function in parts[-2].functions:
                if function.name == kernel.name:
                    function.name = entry
                    function.add_function_attribute("noinline")  # the C function calls it, and so does the loader
        for name in exported:
            require_c_name(name, [*called, *(other for other in exported if other is not name)])
        parts += [parsed(wrapper_text(r.name, r.entry, r.signature, target)) for r in records]
        whole = parsed("")
        for part in parts:
            whole.link_in(part)
        for function in whole.functions:
            if not function.is_declaration and function.name not in exported:
                function.linkage = "internal"
        return str(whole), records


def _constant(name: str, content: bytes) -> str:
    escaped = "".join(chr(b) if 32 <= b < 127 and b not in b'"\\' else f"\\{b:02X}" for b in content)
    return f'@{name} = constant [{len(content)} x i8] c"{escaped}"\n'


def _translated(text: str, where: Path, target: Target, link: Sequence[str]) -> bytes:
    from flashsched.codegen import llvm

    if where.suffix in (".ll", ".bc"):
        text = llvm.with_cpu(text, target)
    module = llvm.optimize(text, target)
    if where.suffix == ".ll":
        return str(module).encode()
    if where.suffix == ".bc":
        return llvm.emit_bitcode(module)
    if where.suffix == ".s":
        return llvm.emit_assembly(module, target, ahead=True).encode()
    code = llvm.emit_object(module, target, ahead=True)
    if where.suffix in (".o", ".obj"):
        return code
    from flashsched.codegen.ahead.linker import link_shared

    with tempfile.TemporaryDirectory(prefix="flashsched-") as folder:
        source, made = Path(folder, "kernels.o"), Path(folder, where.name)
        source.write_bytes(code)
        link_shared(source, made, where.name, target, link)
        return made.read_bytes()


def _write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; a program that has an older one loaded keeps it.

    Raises:
        LibraryError: the folder can't be written.
    """
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            os.chmod(name, 0o755 if path.suffix in (".so", ".dylib") else 0o644)
            os.replace(name, path)
        except BaseException:
            os.unlink(name)
            raise
    except OSError as error:
        raise LibraryError(f"{path} can't be written: {error.strerror}", hint="choose another folder") from None
