"""One trial of a tuning run, as one line of JSON.

A record holds what was tried (the trace), on what, and what came of it; never code, so reading one can run nothing.
This file knows the line: its fields, its checksum, and what is refused. Files full of lines are ``log.py``.

A line looks like this (broken here for reading)::

    {"schema": "flashsched.tuning/1", "record_id": "…", "task": {…}, "trace": {…}, …, "sum": "0f3a9c12"}

``sum`` comes last and is the CRC-32 of the line's bytes before ``,"sum"``. It finds torn and damaged lines; it is
no signature. Fields that this version does not know are kept in ``Record.extra`` and written back unchanged.
"""

from __future__ import annotations

import json
import math
import re
import statistics
import uuid
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any

from flashsched.errors import LogError

__all__ = [
    "SCHEMA",
    "SOURCES",
    "STATUSES",
    "DamagedLineError",
    "Record",
    "check_fields",
    "check_version",
    "new_record_id",
    "parsed",
    "utc_now",
]

SCHEMA = "flashsched.tuning/1"
"""Name and major version of the log format. A later minor version, ``flashsched.tuning/1.4``, is read as well."""

STATUSES = (
    "correct", "unverified", "wrong", "compile", "runtime", "crash", "timeout", "oom", "constraints", "noisy",
)  # fmt: skip
"""What became of a trial. Only ``correct`` may be loaded as a measured kernel; ``unverified`` is simulated only."""

SOURCES = ("measured", "simulated")

_MAJOR = 1
_SUM = re.compile(rb',"sum":"([0-9a-f]{8})"\}$')
_SUM_BYTES = len(',"sum":"00000000"}')


class DamagedLineError(LogError):
    """A line of a log that is torn, altered or not a record. Readers skip it with a warning that names it."""


def new_record_id() -> str:
    """A fresh random identifier, 16 hex digits."""
    return uuid.uuid4().hex[:16]


def utc_now() -> str:
    """The time now as ISO 8601 in UTC, ``2026-01-31T09:15:00.250000Z``; such texts sort by time."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@dataclass(frozen=True)
class Record:
    """One trial.

    Attributes:
        task: ``op``, ``shape``, ``dtype``, canonical ``text`` and ``hash``; perhaps ``flops`` and more.
        trace: ``{"steps": [...], "decisions": {...}}``; replays to the schedule that was tried.
        device: the device's name, ``cpu`` or one that ends in ``-sim``.
        source: ``measured`` or ``simulated``; the two are never mixed.
        status: one of :data:`STATUSES`.
        trial: the trial's number in its run, from 0.
        error: one text that says what went wrong; None where nothing did.
        times_s: raw samples, seconds per call.
        verified: ``{"max_error": …, "tolerance": …}``; None if the result was not compared with an oracle.
        target: triple, cpu, features, caches, cores.
        versions: of flashsched, llvmlite, numpy, python.
        extra: fields that this version does not know, and whatever a runner wants to keep beside (``roofline_s``).

    Raises:
        LogError: a field has a value that a log may not hold.
    """

    task: dict[str, Any]
    trace: dict[str, Any]
    device: str
    source: str
    status: str
    trial: int
    error: str | None = None
    times_s: list[float] = field(default_factory=list)
    verified: dict[str, Any] | None = None
    target: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    seed: int | None = None
    started_at: str = field(default_factory=utc_now)
    record_id: str = field(default_factory=new_record_id)
    schema: str = SCHEMA
    extra: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def median_s(self) -> float:
        """Median of ``times_s`` in seconds; NaN where there are no samples."""
        return statistics.median(self.times_s) if self.times_s else math.nan

    def to_json_line(self) -> str:
        """The record as one line of JSON, without its newline; the same record always gives the same text.

        Raises:
            LogError: a value that JSON cannot hold, NaN and infinity among them.
        """
        body: dict[str, Any] = {name: getattr(self, name) for name in _ORDER}
        body.update({name: self.extra[name] for name in sorted(self.extra)})
        try:
            text = "{" + ",".join(f"{_JSON.encode(name)}:{_JSON.encode(value)}" for name, value in body.items()) + "}"
        except (TypeError, ValueError) as error:
            raise LogError(
                f"record {self.record_id} holds a value that JSON cannot: {error}",
                hint="use finite numbers, text, lists and dicts; leave a missing time out of times_s",
            ) from error
        return f'{text[:-1]},"sum":"{zlib.crc32(text[:-1].encode()):08x}"}}'

    @classmethod
    def from_json_line(cls, line: str | bytes) -> Record:
        """Read a line that :meth:`to_json_line` wrote, in this version or another of the same major.

        Raises:
            DamagedLineError: torn, altered, or not a record; the text says which.
            LogError: written in a major version of the format that this flashsched does not read.
        """
        raw = (line.encode() if isinstance(line, str) else bytes(line)).strip()
        found = _SUM.match(raw, max(0, len(raw) - _SUM_BYTES))
        if found and zlib.crc32(raw[: found.start()]) != int(found[1], 16):
            raise DamagedLineError("the checksum does not fit the line", where="")
        try:
            body = parsed(raw)
        except (ValueError, RecursionError) as error:
            raise DamagedLineError(f"not JSON ({error})", where="") from error
        if not isinstance(body, dict):
            raise DamagedLineError(f"not a JSON object but {type(body).__name__}", where="")
        check_version(body.get("schema"))
        if not found:
            raise DamagedLineError("no checksum at the end of the line", where="")
        body.pop("sum")
        missing = [name for name in _ORDER if name not in body]
        if missing:
            raise DamagedLineError(f"the record lacks {', '.join(missing)}", where="")
        known = {name: body.pop(name) for name in _ORDER}
        try:
            return cls(**known, extra=body)
        except LogError as error:
            raise DamagedLineError(error.reason, where="") from error


# The order of the contract; `extra` is spread out behind it and `sum` closes the line.
_ORDER = (
    "schema", "record_id", "trial", "task", "trace", "device", "source", "status", "error", "times_s", "verified",
    "target", "versions", "seed", "started_at",
)  # fmt: skip


def check_version(schema: object) -> None:
    """Refuse a line of another format or of another major version of this one."""
    if schema == SCHEMA:
        return
    found = re.fullmatch(r"flashsched\.tuning/(\d+)(\.\d+)?", schema) if isinstance(schema, str) else None
    if found is None:
        raise DamagedLineError(f"schema is {schema!r}, not {SCHEMA!r}", where="")
    if int(found[1]) != _MAJOR:
        newer = int(found[1]) > _MAJOR
        raise LogError(
            f"the log has format {schema}, and this flashsched reads {SCHEMA}",
            hint="pip install --upgrade flashsched" if newer else "read it with the flashsched that wrote it",
        )


def check_fields(record: Any, dicts: Iterable[str] = ("task", "trace", "target", "versions", "extra")) -> None:
    """Raise LogError for a field that a log may not hold; *dicts* are fields that must be dicts."""

    def refuse(reason: str, hint: str | None = None) -> None:
        raise LogError(f"record {record.record_id}: {reason}", hint=hint)

    if record.source not in SOURCES:
        refuse(f"source is {record.source!r}", f"one of {', '.join(SOURCES)}")
    if record.status not in STATUSES:
        refuse(f"status is {record.status!r}", f"one of {', '.join(STATUSES)}")
    for name in ("record_id", "device", "started_at"):
        if not isinstance(getattr(record, name), str) or not getattr(record, name):
            refuse(f"{name} is {getattr(record, name)!r}, and must be a text")
    if not isinstance(record.trial, int) or isinstance(record.trial, bool) or record.trial < 0:
        refuse(f"trial is {record.trial!r}, and must be a whole number from 0")
    if record.error is not None and not isinstance(record.error, str):
        refuse(f"error is {record.error!r}, and must be a text or None")
    for name in dicts:
        if not isinstance(getattr(record, name), dict):
            refuse(f"{name} is {getattr(record, name)!r}, and must be a dict")
    if record.verified is not None and not isinstance(record.verified, dict):
        refuse(f"verified is {record.verified!r}, and must be a dict or None")
    lacking = [name for name in ("op", "shape", "dtype", "text", "hash") if name not in record.task]
    if lacking:
        refuse(f"task lacks {', '.join(lacking)}")
    if not _are_times(record.times_s):
        refuse(f"times_s is {record.times_s!r}, and must be a list of finite seconds from 0")
    if record.status in ("correct", "unverified") and not record.times_s:
        refuse(f"status {record.status!r} needs a time in times_s")
    if record.status == "correct":
        proof: Any = record.verified or {}
        error, tolerance = proof.get("max_error"), proof.get("tolerance")
        if not (_is_time(error) and _is_time(tolerance) and error <= tolerance):
            refuse(
                f"status 'correct' needs verified max_error <= tolerance, and verified is {record.verified!r}",
                "record it as 'wrong' or 'unverified'",
            )
    taken = sorted({*_FIELDS, "sum"} & set(record.extra))
    if taken:
        refuse(f"extra may not hold {', '.join(taken)}: the format has fields of that name")


def _are_times(values: Any) -> bool:
    if isinstance(values, list) and set(map(type, values)) == {float} and min(values) >= 0 and sum(values) < math.inf:
        return True  # nearly always, and ten times as fast
    return isinstance(values, list) and all(_is_time(value) for value in values)


def _is_time(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


def _plain(value: Any) -> Any:
    """NumPy's scalars as plain Python ones, without importing NumPy; any mapping as a dict."""
    if isinstance(value, Mapping):
        return dict(value)
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        return value.item()
    raise TypeError(f"{type(value).__name__} {value!r}")


_JSON = json.JSONEncoder(allow_nan=False, separators=(",", ":"), sort_keys=True, default=_plain)
"""Keys in order, so that equal records give equal lines."""


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")


_decode = json.JSONDecoder(parse_constant=_refuse_constant).decode  # made once: making it takes as long as a short text


def parsed(text: bytes) -> Any:
    """The value that a JSON text spells.

    Raises:
        ValueError, RecursionError: it is none, or NaN or an infinity stands in it.
    """
    return _decode(text.decode())


_FIELDS = {entry.name for entry in fields(Record)}
