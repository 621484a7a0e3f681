"""Files that several processes append to and replace: locks, all-or-nothing writes, swaps, and clear errors.

Nothing here knows what the files hold; tuning logs (``log.py``) are what it is for.

Locks are ``flock`` (``msvcrt.locking`` on Windows), which fall when their owner dies. Some network filesystems do
not honour them.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeAlias

from flashsched.errors import LogError

__all__ = ["FilePath", "explained", "locked", "swap", "write_or_undo"]

FilePath: TypeAlias = str | os.PathLike[str]


@contextlib.contextmanager
def locked(path: Path, timeout_s: float) -> Iterator[int]:
    """The file at *path*, made if need be, open for appending and locked against all other writers."""
    deadline = time.monotonic() + timeout_s
    while True:
        fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o644)
        try:
            _lock(fd, path, deadline)
            if not _is_still(path, fd):  # merge or compact swapped the file while this writer waited
                continue
            yield fd
            return
        finally:
            _unlock(fd)
            os.close(fd)


def _is_still(path: Path, fd: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(fd))
    except FileNotFoundError:
        return False


def _lock(fd: int, path: Path, deadline: float) -> None:
    pause = 0.0005
    while not _try_lock(fd):
        if time.monotonic() > deadline:
            raise LogError(
                f"another process has held the lock of {path} for too long",
                hint="see who has the file open (lsof, fuser), or write to another log and merge",
            )
        time.sleep(pause)
        pause = min(pause * 1.5, 0.02)


if sys.platform == "win32":
    import msvcrt

    _FAR = 1 << 40  # a byte far behind the end: Windows would keep readers off a locked one

    def _try_lock(fd: int) -> bool:
        os.lseek(fd, _FAR, os.SEEK_SET)
        try:
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _unlock(fd: int) -> None:
        os.lseek(fd, _FAR, os.SEEK_SET)
        with contextlib.suppress(OSError):
            msvcrt.locking(fd, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _try_lock(fd: int) -> bool:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _unlock(fd: int) -> None:
        fcntl.flock(fd, fcntl.LOCK_UN)


@contextlib.contextmanager
def explained(doing: str, path: FilePath) -> Iterator[None]:
    """Turn an OSError into a LogError that says what to do."""
    try:
        yield
    except OSError as error:
        why = error.strerror or str(error)
        if error.filename is not None and os.fspath(error.filename) != os.fspath(path):
            why += f" ({os.fspath(error.filename)})"
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise LogError(
                f"cannot {doing} {os.fspath(path)}: {why}; the records before are whole",
                hint="make room, then go on with --resume",
            ) from error
        raise LogError(f"cannot {doing} {os.fspath(path)}: {why}", hint="name another file with --log") from error


def write_or_undo(fd: int, data: bytes, fsync: bool) -> int | None:
    """Write all of *data* at the end of the file, or none of it; where it begins, in a file that has places."""
    start = os.lseek(fd, 0, os.SEEK_END) if stat.S_ISREG(os.fstat(fd).st_mode) else None
    try:
        rest = memoryview(data)
        while rest:  # a second turn only after a short write: it brings the error that cut the first one short
            rest = rest[os.write(fd, rest) :]
        if fsync:
            os.fsync(fd)
    except BaseException:
        if start is not None:
            with contextlib.suppress(OSError):
                os.ftruncate(fd, start)
        raise
    return start


def swap(target: Path, chunks: Iterable[bytes]) -> None:
    """Replace *target*, which exists and whose lock the caller holds, by a file of *chunks*; whole or not at all."""
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".tmp")
    try:
        with open(handle, "wb") as new:
            for chunk in chunks:
                new.write(chunk)
            new.flush()
            os.fsync(new.fileno())
        os.chmod(name, stat.S_IMODE(target.stat().st_mode))
        os.replace(name, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
