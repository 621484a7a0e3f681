"""Kernels from a file that `save_library` wrote: loaded, checked and called without LLVM.

It stands apart from the other half of this folder because it needs nothing of a compiler: a package that ships its
kernels as data loads them with this module alone.
"""

from __future__ import annotations

import ctypes
import difflib
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.resources import as_file
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from flashsched.codegen import threads
from flashsched.codegen.ahead.record import Record, records_in
from flashsched.codegen.instruction_sets import host_arch, lacking_here
from flashsched.codegen.kernel import Kernel
from flashsched.errors import KernelError, LibraryError

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

    from flashsched.codegen.target import Target

__all__ = ["Library", "load_library"]

_SYSTEMS = {"linux": "linux", "darwin": "darwin", "macosx": "darwin"}


def load_library(path: str | os.PathLike[str] | Traversable) -> Library:
    """Load a shared library of kernels that `save_library`, or a kernel's ``save``, wrote.

    Args:
        path: the file; as package data, ``importlib.resources.files("mypackage") / "libops.so"``.

    Raises:
        LibraryError: there is no such file, it is damaged or holds no kernels, or this machine can't run them; the
            file's code is not touched then.
    """
    with ExitStack() as stack:
        if isinstance(path, (str, os.PathLike)):
            where = Path(path).absolute()
        else:
            where = stack.enter_context(as_file(path))
        try:
            content = where.read_bytes()
        except OSError as error:
            raise LibraryError(
                f"{where} can't be read: {error.strerror}", hint="kernel.save(path) writes one"
            ) from None
        try:
            records = records_in(content)
            _require_whole(content)
        except LibraryError as error:
            raise LibraryError(f"{where.name}: {error.reason}", hint=error.hint) from None
        if not records:
            raise LibraryError(
                f"{where.name} holds no kernels of flashsched",
                hint="load what kernel.save or fs.save_library wrote; ctypes.CDLL loads other libraries",
            )
        for record in records:
            _require_machine(record, where.name)
        try:
            loaded = ctypes.CDLL(str(where))
        except OSError as error:
            raise LibraryError(
                f"the system can't load {where.name}: {error}",
                hint="an object file (.o) must be linked first; a shared library ends in .so",
            ) from None
    return Library(where, loaded, records)


class Library(Mapping[str, Kernel]):
    """The kernels of one file, by name: ``library["matmul"]`` or ``library.matmul``.

    Each is called as the kernel that was saved, except that its arrays must be contiguous. The file stays loaded until
    the process ends, since its threads may stand in its code. `flashsched.set_num_threads` holds for it, too.

    Attributes:
        path: where it was loaded from.
    """

    def __init__(self, path: Path, loaded: ctypes.CDLL, records: list[Record]) -> None:
        self.path = path
        self._kernels = {record.name: _kernel(record, path, loaded) for record in records}
        for setter in {record.threads for record in records if record.threads}:
            threads.follow(getattr(loaded, setter))

    def __getitem__(self, name: str) -> Kernel:
        try:
            return self._kernels[name]
        except KeyError:
            close = difflib.get_close_matches(name, self._kernels, n=1)
            meant = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(self._kernels)}"
            raise LibraryError(f"{self.path.name} has no kernel {name!r}", hint=meant) from None

    def __getattr__(self, name: str) -> Kernel:
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            return self[name]
        except LibraryError as error:
            raise AttributeError(str(error)) from None

    def __contains__(self, name: object) -> bool:
        return name in self._kernels

    def __iter__(self) -> Iterator[str]:
        return iter(self._kernels)

    def __len__(self) -> int:
        return len(self._kernels)

    def __repr__(self) -> str:
        return f"<Library {self.path.name}: {', '.join(self._kernels)}>"


@dataclass(frozen=True, eq=False)
class _LoadedModule:
    """A kernel's code in a loaded library."""

    jitted: ClassVar[bool] = False

    record: Record
    path: Path
    loaded: ctypes.CDLL

    @property
    def target(self) -> Target:
        from flashsched.codegen.target import Target

        record = self.record
        features = ",".join(f"+{name}" for name in record.needs)
        return Target(record.triple, record.cpu, features, record.vector_bits, 1)

    def address(self, name: str) -> int:
        try:
            function = getattr(self.loaded, self.record.entry)
        except AttributeError:
            raise LibraryError(
                f"{self.path.name} speaks of {self.record.name!r}, and has no function {self.record.entry!r}",
                hint="save it again, and keep its symbols when it is stripped",
            ) from None
        return int(ctypes.cast(function, ctypes.c_void_p).value or 0)

    @property
    def ir_text(self) -> str:
        raise self._only_code("LLVM text")

    @property
    def optimized_ir(self) -> str:
        raise self._only_code("LLVM text")

    def asm(self) -> str:
        raise self._only_code("assembler text")

    def _only_code(self, what: str) -> KernelError:
        return KernelError(
            f"{self.record.name!r} was loaded from {self.path.name}, which holds machine code and no {what}",
            hint=f"objdump -d {self.path.name} shows the code; the kernel that was saved has its text",
        )


def _kernel(record: Record, path: Path, loaded: ctypes.CDLL) -> Kernel:
    signature = record.signature
    module: Any = _LoadedModule(record, path, loaded)
    return Kernel(
        module,
        signature.params,
        record.name,
        scalars=signature.scalars,
        needs=signature.needs,
        passed=signature.passed,
        may_lack_memory=signature.may_lack_memory,
    )


def _require_machine(record: Record, file: str) -> None:
    """Refuse a kernel that this machine would not run, or stop in the middle of.

    Raises:
        LibraryError: it is for another architecture or system, or needs instruction sets that this machine lacks.
    """
    arch, system = record.triple.split("-")[0].replace("arm64", "aarch64"), record.triple.split("-")[2]
    here = _SYSTEMS.get(sys.platform, sys.platform)
    if arch != host_arch() or not system.startswith(("macosx", here) if here == "darwin" else here):
        raise LibraryError(
            f"{file}: {record.name!r} is compiled for {record.triple}, and this machine is {host_arch()} with {here}",
            hint="save it for this machine: fs.build(..., target='cpu').save(...)",
        )
    lacking = lacking_here(record.needs)
    if lacking:
        raise LibraryError(
            f"{file}: {record.name!r} is compiled for the CPU {record.cpu}, and this one lacks {', '.join(lacking)}",
            hint="save it for a CPU that all its machines include, e.g. fs.build(..., target='x86-64-v2')",
        )


def _require_whole(content: bytes) -> None:
    """Refuse a shared library that ends before its own tables say, which the system's loader would crash on.

    Raises:
        LibraryError: it was cut off.
    """
    if content[:4] != b"\x7fELF" or len(content) < 64:
        return
    order = "little" if content[5] == 1 else "big"

    def number(at: int, size: int) -> int:
        return int.from_bytes(content[at : at + size], order)  # type: ignore[arg-type]

    if content[4] != 2:  # 32 bits: no kernel of ours
        return
    segments, sections = number(32, 8), number(40, 8)
    end = sections + number(58, 2) * number(60, 2)
    for index in range(number(56, 2)):
        at = segments + index * number(54, 2)
        end = max(end, at + number(54, 2), number(at + 8, 8) + number(at + 32, 8))
    if end > len(content):
        raise LibraryError(
            f"it is cut off: it has {len(content)} bytes, and speaks of {end}", hint="copy it again, whole"
        )
