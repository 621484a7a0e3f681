"""Object code on disk, found by the content of what it was compiled from.

An entry is a checksum followed by an object file. Nothing here is ever wrong to delete, and nothing here can fail a
compilation: a damaged entry is compiled again, and a folder that cannot be written is done without.

``FLASHSCHED_CACHE`` names another folder; ``off`` does without one.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import tempfile
import warnings
from pathlib import Path

from flashsched.codegen import llvm
from flashsched.codegen.target import Target
from flashsched.hw.user_cache import cache_folder

__all__ = ["CODEGEN_VERSION", "MAX_BYTES", "folder", "get", "key", "object_code", "put", "trim"]

CODEGEN_VERSION = 1
"""Raise it when the same text must give other object code, e.g. after a change of attributes or passes."""

MAX_BYTES = 256 * 1024 * 1024
"""The folder is cut back to three quarters of this, the longest unused first, when it grows beyond."""

_CHECKSUM_BYTES = 32
_PUTS_FOR_A_TRIM = 512  # on average, whoever puts: looking at every entry of a full folder takes tenths of a second


def folder() -> Path | None:
    """Where objects are kept; None where the user switched the cache off."""
    asked = os.environ.get("FLASHSCHED_CACHE", "").strip()
    if asked.lower() == "off":
        return None
    base = Path(asked).expanduser() if asked else cache_folder()
    return base / "objects"


def key(ir_text: str, target: Target) -> str:
    """The name of an entry: a hash of everything that decides the object code."""
    decides = (CODEGEN_VERSION, llvm.options_text(), target.triple, target.cpu, target.features, target.vector_bits)
    return hashlib.sha256("\n".join([*map(str, decides), ir_text]).encode()).hexdigest()


def object_code(ir_text: str, target: Target) -> tuple[bytes, bool]:
    """The object code of *ir_text*, and whether it was found here rather than compiled just now.

    Raises:
        LoweringError: LLVM refuses the text.
    """
    name = key(ir_text, target)
    code = get(name)
    if code is not None:
        return code, True
    code = llvm.emit_object(llvm.optimize(ir_text, target), target)
    put(name, code)
    return code, False


def get(key: str) -> bytes | None:
    """The object code stored under *key*; None where there is none, or where it is damaged."""
    path = _path(key)
    if path is None:
        return None
    try:
        content = path.read_bytes()
    except OSError:
        return None
    checksum, code = content[:_CHECKSUM_BYTES], content[_CHECKSUM_BYTES:]
    if hashlib.sha256(code).digest() != checksum:
        with contextlib.suppress(OSError):
            path.unlink()
        return None
    with contextlib.suppress(OSError):
        os.utime(path)  # the file's time is its last use, which is what trimming goes by
    return code


def put(key: str, code: bytes) -> None:
    """Store *code* under *key*: whole or not at all, whoever else writes the same entry."""
    path = _path(key)
    if path is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(hashlib.sha256(code).digest() + code)
            os.replace(name, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise
    except OSError as error:
        _warn_once(str(path.parent), str(error))
        return
    global _puts
    _puts += 1
    if _puts % _PUTS_FOR_A_TRIM == 0:
        trim(path.parent.parent)


_puts = os.getpid() % _PUTS_FOR_A_TRIM
"""Puts of this process, counted from some number: processes that put a few each trim as often as one that puts many."""


def trim(objects: Path, max_bytes: int = MAX_BYTES) -> None:
    """Cut *objects* back to three quarters of *max_bytes* if it holds more, the longest unused first."""
    entries = []
    for shelf in _listed(objects):
        for entry in _listed(shelf.path):
            with contextlib.suppress(OSError):
                status = entry.stat()
                entries.append((status.st_mtime_ns, status.st_size, entry.path))
    size = sum(bytes for _, bytes, _ in entries)
    if size <= max_bytes:
        return
    for _, bytes, path in sorted(entries):
        with contextlib.suppress(OSError):
            os.unlink(path)
            size -= bytes
        if size <= max_bytes * 3 // 4:
            return


def _listed(folder: Path | str) -> list[os.DirEntry[str]]:
    """What is in *folder*; nothing where it is no folder."""
    try:
        with os.scandir(folder) as found:
            return list(found)
    except OSError:
        return []


def _path(key: str) -> Path | None:
    objects = folder()
    return None if objects is None else objects / key[:2] / key[2:]


@functools.cache
def _warn_once(folder: str, error: str) -> None:
    warnings.warn(f"flashsched keeps no compiled kernels: {folder} cannot be written ({error})", stacklevel=4)
