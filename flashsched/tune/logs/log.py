"""Tuning logs: files of records, one a line, that survive what happens to files.

What a line holds is ``record.py``; how a log becomes a table is ``report.py``. Here is what makes it durable:

- **Appending** takes the file's lock, writes the line with one ``write``, and takes a partial write back, so that a
  full disk or a killed writer costs at most the line being written. Locks fall when their owner dies.
- **A torn last line** (its writer was killed) is moved to ``LOG.torn`` by the next append, with a warning. If that
  file cannot be written, the torn text stays in the log, closed by a newline, and readers skip it.
- **Reading** is a stream: a damaged line is skipped with a :class:`LogWarning` that names file and line.
- **Rewriting** (merge, compact) writes a new file beside the old and swaps it in, under the old one's lock.
  A writer that waited for the lock sees the swap and opens the new file. Lines are copied byte for byte.

How files are locked and swapped is ``durable.py``. Some network filesystems do not honour locks: there, give
each writer its own file and merge.
"""

from __future__ import annotations

import contextlib
import os
import stat
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Generic, NamedTuple, TypeAlias, TypeVar

from flashsched.errors import LogError
from flashsched.tune.logs.durable import FilePath, explained, locked, swap, write_or_undo
from flashsched.tune.logs.glance import Glance, glance
from flashsched.tune.logs.record import DamagedLineError, Record

__all__ = [
    "DamagedLine",
    "LogSummary",
    "LogWarning",
    "TuningLog",
    "compact",
    "glances",
    "glances_at",
    "merge",
    "placed",
    "read",
    "records_at",
    "verify",
]

R = TypeVar("R", Record, Glance)
Skip: TypeAlias = Callable[[bytes], bool] | None

_BUFFER = 1 << 16

MAX_LINE = 16 << 20
"""Bytes of the longest line that is taken for a record."""


class LogWarning(UserWarning):
    """A log was damaged and read or healed all the same; the text names file, line and reason."""


@dataclass(frozen=True)
class DamagedLine:
    """A line that is no record: where it stands (from 1) and what is wrong with it."""

    line: int
    reason: str


@dataclass
class LogSummary:
    """What a log holds. ``ok`` is False when a line is damaged; a record that stands twice is counted, not damage."""

    path: str
    records: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    sources: dict[str, int] = field(default_factory=dict)
    tasks: int = 0
    duplicates: int = 0
    damaged: list[DamagedLine] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.damaged


class TuningLog:
    """A log that this process, its threads and any number of other processes may append to.

    Args:
        path: the file; it and its folders are made by the first append.
        fsync: force each append to the disk (about 1.5 ms), for a log that must survive a power cut.
        lock_timeout_s: how long to wait for the other writers.
    """

    def __init__(self, path: FilePath, *, fsync: bool = False, lock_timeout_s: float = 30.0) -> None:
        self.path = Path(path)
        self.fsync = fsync
        self.lock_timeout_s = lock_timeout_s

    def __repr__(self) -> str:
        return f"TuningLog({str(self.path)!r})"

    def append(self, *records: Record) -> int | None:
        """Write *records* behind the others: all of them, or none and a LogError.

        Returns:
            Where in the file they begin; None where nothing can be read again, as of a pipe.

        Raises:
            LogError: the path cannot be written, the disk is full, the lock is not given up, or a record holds a
                value that JSON cannot. The log then stands as it stood before.
        """
        data = "".join(record.to_json_line() + "\n" for record in records).encode()
        if not data:
            return None
        with explained("write", self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with locked(self.path, self.lock_timeout_s) as fd:
                healed = _heal(fd, self.path)
                start = write_or_undo(fd, data, self.fsync)
        if healed:
            warnings.warn(LogWarning(healed), stacklevel=2)
        return start

    def read(self) -> Iterator[Record]:
        """The records, oldest first; a log that does not exist yet has none."""
        return read(self.path) if self.path.exists() else iter(())


def read(path: FilePath) -> Iterator[Record]:
    """Stream the records of a log, oldest first, in memory that does not grow with the file.

    A damaged line is skipped with a :class:`LogWarning` that names file, line and reason.

    Raises:
        LogError: no such file, an unreadable one, or one of a format that this version does not read.
    """
    return (record for _, record in placed(path))


def placed(path: FilePath) -> Iterator[tuple[int, Record]]:
    """As :func:`read`, each record with its offset in the file.

    Raises:
        LogError: as :func:`read`.
    """
    _require(path)
    return ((line.offset, line.record) for line in _scan_warning(path, Record.from_json_line) if line.record)


def glances(path: FilePath, skip: Skip = None) -> Iterator[tuple[int, Glance]]:
    """As :func:`read`, a few times as fast: records at a glance, each with its offset in the file.

    Args:
        path: the log.
        skip: says of a line that it need not be looked at.

    Raises:
        LogError: as :func:`read`.
    """
    _require(path)
    return ((line.offset, line.record) for line in _scan_warning(path, glance, skip) if line.record)


def glances_at(path: FilePath, offsets: Iterable[int]) -> Iterator[Glance]:
    """The records at *offsets* that :func:`glances` told, in that order, at a glance."""
    return _parsed_at(path, offsets, glance)


def records_at(path: FilePath, offsets: Iterable[int]) -> Iterator[Record]:
    """The records at *offsets* that :func:`glances` or :func:`placed` told, in that order."""
    return _parsed_at(path, offsets, Record.from_json_line)


def _parsed_at(path: FilePath, offsets: Iterable[int], parse: Callable[[bytes], R]) -> Iterator[R]:
    for line in _lines_at((Path(path), offset) for offset in offsets):
        try:
            yield parse(line)
        except DamagedLineError:
            raise LogError(f"{os.fspath(path)} was rewritten while it was read", hint="read it again") from None


def verify(path: FilePath) -> LogSummary:
    """Check every line of a log and count what it holds; nothing is changed and nothing warned about.

    Raises:
        LogError: as :func:`read`.
    """
    _require(path)
    summary = LogSummary(os.fspath(path))
    statuses: Counter[str] = Counter()
    sources: Counter[str] = Counter()
    tasks: set[str] = set()
    ids: set[str] = set()
    for line in _scan(path, Record.from_json_line):
        if line.record is None:
            summary.damaged.append(DamagedLine(line.number, line.reason))
            continue
        summary.records += 1
        statuses[line.record.status] += 1
        sources[line.record.source] += 1
        tasks.add(str(line.record.task["hash"]))
        summary.duplicates += line.record.record_id in ids
        ids.add(line.record.record_id)
    summary.statuses, summary.sources, summary.tasks = (
        dict(sorted(statuses.items())),
        dict(sorted(sources.items())),
        len(tasks),
    )
    return summary


def merge(paths: Iterable[FilePath], out: FilePath) -> LogSummary:
    """Put the records of *paths* into *out*, each once, in order of ``started_at``; *out* changes at a stroke.

    If *out* exists its own records are kept too, so a merge never loses any. Damaged lines are left behind, with
    a warning for each. Two records of one id but different content are not expected: the first is kept, with a warning.

    Raises:
        LogError: as :func:`read`, or *out* cannot be written; *out* then stands as it stood before.
    """
    target = Path(os.path.realpath(out))
    inputs = {Path(os.path.realpath(path)): None for path in [*([target] if target.exists() else []), *paths]}
    for path in inputs:
        _require(path)
    found: dict[str, tuple[str, bytes, Path, int]] = {}  # by id: when, checksum, where
    with explained("write", target), locked(target, 30.0) as _:
        for path in inputs:
            for line in _scan_warning(path, glance):
                if line.record is None:
                    continue
                name, check = line.record.record_id, line.raw[-10:]
                known = found.setdefault(name, (line.record.started_at, check, path, line.offset))
                if known[1] != check:
                    why = f"record {name} was seen before with other content"
                    warnings.warn(LogWarning(f"{path}:{line.number}: skipped: {why}"), stacklevel=2)
        places = [(path, offset) for _, _, path, offset in sorted(found.values(), key=lambda entry: entry[0])]
        swap(target, _lines_at(places))
    return verify(target)


def compact(path: FilePath, keep: int = 5) -> int:
    """Keep the *keep* best records of each task, device, CPU and source, and drop the rest; the order stays.

    A correct record is better than an unverified one, and of two equals the faster. Failed trials go, so a search
    that is resumed from a compacted log may try them again.

    Returns:
        How many records were dropped.

    Raises:
        LogError: as :func:`read`, or the log cannot be rewritten; it then stands as it stood before.
    """
    if keep < 1:
        raise LogError(f"compact must keep at least 1 record of each task, got keep={keep}")
    target = Path(os.path.realpath(path))
    _require(target)
    best: dict[tuple[str, ...], list[tuple[bool, float, int]]] = {}
    total = 0
    with explained("write", target), locked(target, 30.0) as _:
        for line in _scan_warning(target, glance):
            record = line.record
            if record is None:
                continue
            total += 1
            if record.status in ("correct", "unverified"):
                cpu = str(record.target.get("triple")), str(record.target.get("cpu"))
                rows = best.setdefault((str(record.task["hash"]), record.device, record.source, *cpu), [])
                rows.append((record.status != "correct", record.median_s, line.offset))
                rows.sort()
                del rows[keep:]
        offsets = sorted(row[2] for rows in best.values() for row in rows)
        swap(target, _lines_at((target, offset) for offset in offsets))
    return total - len(offsets)


def _require(path: FilePath) -> None:
    if not os.path.exists(path):
        raise LogError(f"there is no log at {os.fspath(path)}", hint="flashsched tune WORKLOAD --log FILE makes one")


class _Line(NamedTuple, Generic[R]):
    """A line of a log: *record*, or None and the *reason*; *raw* is without its newline."""

    number: int
    offset: int
    raw: bytes
    record: R | None
    reason: str


def _scan(path: FilePath, parse: Callable[[bytes], R], skip: Skip = None) -> Iterator[_Line[R]]:
    """Every line of a log but the blank ones and those to *skip*, as *parse* reads it."""
    with explained("read", path), open(path, "rb", buffering=_BUFFER) as file:
        number = offset = 0
        while raw := file.readline(MAX_LINE):
            number, start = number + 1, offset
            offset += len(raw)
            if skip is not None and len(raw) < MAX_LINE and skip(raw):
                continue
            whole = raw.endswith(b"\n")
            reason = "" if whole else "torn: the line has no end"
            if not whole and len(raw) == MAX_LINE:
                reason = f"longer than {MAX_LINE >> 20} MiB"
                while (more := file.readline(MAX_LINE)) and not more.endswith(b"\n"):
                    offset += len(more)
                offset += len(more)
            record: R | None = None
            if not raw.strip():
                continue
            try:
                record = parse(raw)
                reason = ""
            except DamagedLineError as error:
                reason = reason or error.reason
            except LogError as error:
                raise LogError(f"{os.fspath(path)}:{number}: {error.reason}", hint=error.hint) from error
            yield _Line(number, start, raw.rstrip(b"\r\n"), record, reason)


def _scan_warning(path: FilePath, parse: Callable[[bytes], R], skip: Skip = None) -> Iterator[_Line[R]]:
    for line in _scan(path, parse, skip):
        if line.record is None:
            warnings.warn(LogWarning(f"{os.fspath(path)}:{line.number}: skipped: {line.reason}"), stacklevel=3)
        yield line


def _heal(fd: int, path: Path) -> str:
    """Deal with a last line that has no end (the caller holds the lock); returns what to warn about, or ''."""
    size = os.fstat(fd).st_size
    if not stat.S_ISREG(os.fstat(fd).st_mode) or size == 0 or _bytes_at(fd, size - 1, 1) == b"\n":
        return ""
    start = size
    while start > 0:
        step = min(start, 1 << 16)
        cut = _bytes_at(fd, start - step, step).rfind(b"\n")
        start -= step
        if cut >= 0:
            start += cut + 1
            break
    torn = _bytes_at(fd, start, size - start)
    try:
        Record.from_json_line(torn)
    except LogError:
        pass
    else:  # only the newline is missing
        os.write(fd, b"\n")
        return ""
    sidecar = path.with_name(path.name + ".torn")
    try:
        with open(sidecar, "ab") as file:
            file.write(torn + b"\n")
    except OSError:
        os.write(fd, b"\n")
        return f"{path}: the last line was torn ({len(torn)} bytes); it was closed and will be skipped"
    os.ftruncate(fd, start)
    return f"{path}: the last line was torn ({len(torn)} bytes); it was moved to {sidecar.name}"


def _bytes_at(fd: int, offset: int, count: int) -> bytes:
    os.lseek(fd, offset, os.SEEK_SET)
    return os.read(fd, count)


def _lines_at(places: Iterable[tuple[Path, int]]) -> Iterator[bytes]:
    """The lines that stand at these offsets of these files, each with its newline."""
    with contextlib.ExitStack() as stack:
        files: dict[Path, BinaryIO] = {}
        for path, offset in places:
            if path not in files:
                files[path] = stack.enter_context(open(path, "rb"))
            files[path].seek(offset)
            yield files[path].readline().rstrip(b"\r\n") + b"\n"
