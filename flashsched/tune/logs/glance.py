"""A record seen at a glance: all of it but the trace, which is read when it is asked for.

Tables, summaries and look-ups read whole logs and need no trace, which is most of a line. So a line in the layout
that this format writes is cut at its own keys: the part with the small fields is parsed, what many lines share (the
task, the machine) is parsed once, and the trace is left as bytes. The checksum vouches for all of it. A line in any
other layout is parsed whole.

Why cutting is safe: inside a JSON text a quote is escaped, so ``,"trace":`` can only be a key. If it were one of an
inner object, the pieces would have brackets that do not close, and the parser refuses them.
"""

from __future__ import annotations

import json
import math
import statistics
import zlib
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from flashsched.errors import LogError
from flashsched.tune.logs.record import SCHEMA, DamagedLineError, Record, check_fields, check_version, parsed

__all__ = ["Glance", "glance", "is_sound"]

_TAIL = len(',"sum":"00000000"}')
_SMALL = (
    "record_id", "trial", "device", "source", "status", "error", "times_s", "verified", "seed", "started_at",
)  # fmt: skip
_START = b'{"schema":"%s","record_id":"' % SCHEMA.encode()
_SHARED = 4096  # pieces of lines that are kept parsed
_shared: dict[bytes, Any] = {}


@dataclass(slots=True)
class Glance:
    """The fields of a `Record`, under the same names. What many lines share is one object: change nothing in it."""

    record_id: str
    trial: int
    task: dict[str, Any]
    device: str
    source: str
    status: str
    error: str | None
    times_s: list[float]
    verified: dict[str, Any] | None
    target: dict[str, Any]
    seed: int | None
    started_at: str
    extra: dict[str, Any]
    _trace: bytes | dict[str, Any] = field(repr=False)
    median_s: float = field(init=False)

    def __post_init__(self) -> None:
        self.median_s = statistics.median(self.times_s) if self.times_s else math.nan

    @property
    def trace(self) -> dict[str, Any]:
        """The trace, parsed on the way."""
        return json.loads(self._trace) if isinstance(self._trace, bytes) else self._trace

    @property
    def decisions(self) -> dict[str, Any]:
        """What the trace says of its decisions: they stand first in it, and the steps are not parsed for them."""
        if isinstance(self._trace, bytes):
            end = self._trace.find(b',"steps":[')
            with suppress(ValueError):
                found = json.loads(self._trace[:end] + b"}") if end > 0 else {}
                if isinstance(found.get("decisions"), dict):
                    return found["decisions"]  # type: ignore[no-any-return]
        return dict(self.trace.get("decisions") or {})

    @classmethod
    def of(cls, record: Record) -> Glance:
        """A glance at a record that is in memory."""
        small = {name: getattr(record, name) for name in _SMALL}
        return cls(**small, task=record.task, target=record.target, extra=record.extra, _trace=record.trace)


def glance(line: bytes) -> Glance:
    """Read a line of a log, as `Record.from_json_line` does, but for the trace.

    Raises:
        DamagedLineError, LogError: as `Record.from_json_line`.
    """
    raw = line.strip()
    found = _cut(raw)
    return Glance.of(Record.from_json_line(raw)) if found is None else found


def _cut(raw: bytes) -> Glance | None:
    """The glance at a line that has the usual layout; None for any other."""
    end = len(raw) - _TAIL
    if raw[end:] != b',"sum":"%08x"}' % zlib.crc32(raw[:end]):
        return None  # the slow way says what is wrong
    task = raw.find(b',"task":{')
    trace = raw.find(b',"trace":{', task)
    device = raw.find(b',"device":"', trace)
    target = raw.find(b',"target":{', device)
    seed = raw.find(b',"seed":', target)
    if not 0 < task < trace < device < target < seed < end:
        return None
    try:
        body = parsed(raw[:task] + raw[device:target] + raw[seed:end] + b"}")
        about = _once(raw[task + 1 : trace])["task"]
        machine = _once(raw[target + 1 : seed])
        check_version(body.pop("schema"))
        take = body.pop
        seen = Glance(
            take("record_id"), take("trial"), about, take("device"), take("source"), take("status"), take("error"),
            take("times_s"), take("verified"), machine["target"], take("seed"), take("started_at"), body,
            raw[trace + 9 : device],
        )  # fmt: skip
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    if type(machine.get("versions")) is not dict or len(machine) != 2:
        return None
    try:
        check_fields(seen, dicts=("task", "target", "extra"))
    except LogError as error:
        raise DamagedLineError(error.reason, where="") from error
    return seen


def is_sound(line: bytes) -> bool:
    """Whether a line's checksum fits and its format is this one. False does not say that it is damaged."""
    raw = line.strip()
    end = len(raw) - _TAIL
    return raw.startswith(_START) and raw[end:] == b',"sum":"%08x"}' % zlib.crc32(raw[:end])


def _once(piece: bytes) -> Any:
    """The object of which *piece* is the inside, parsed the first time that it is seen."""
    known = _shared.get(piece)
    if known is None:
        known = parsed(b"{" + piece + b"}")
        if len(_shared) >= _SHARED:
            _shared.clear()
        _shared[piece] = known
    return known
