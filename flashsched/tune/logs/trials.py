"""The trials of a run: the latest are at hand, and the others stay in the log that they were appended to.

A run of many thousand trials is to hold no more than one of some hundred. Of a record that is not at hand two numbers
are kept: where its line begins in the log, and a mark of its id, by which a line is known again in a log that was
rewritten meanwhile.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, overload

from flashsched.errors import LogError
from flashsched.tune.logs.log import glances, records_at
from flashsched.tune.logs.record import Record

__all__ = ["Trials"]

_AT_HAND = 256  # records in memory: some 0.5 MB
_NOWHERE = -1  # the offset of a record that stands in no log


class Trials(Sequence[Record]):
    """Records in order, as a list has them. Those that no log has are all kept in memory.

    Args:
        path: the log; None where there is none.

    Attributes:
        statuses: how many ended with which status.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._offsets, self._marks = array("q"), array("Q")
        self._at_hand: dict[int, Record] = {}
        self._amended: set[int] = set()
        self.statuses: Counter[str] = Counter()

    def append(self, record: Record, offset: int | None) -> None:
        """Add *record*, whose line begins at *offset* of the log; None where it has none."""
        self._at_hand[len(self)] = record
        self._offsets.append(_NOWHERE if offset is None else offset)
        self._marks.append(_mark(record.record_id))
        self.statuses[record.status] += 1
        old = len(self) - 1 - _AT_HAND
        if old >= 0 and self._offsets[old] != _NOWHERE and old not in self._amended:
            self._at_hand.pop(old, None)

    def amend(self, old: Record, new: Record) -> None:
        """Put *new* in the place of *old*, to be kept at hand."""
        at = self._marks.index(_mark(old.record_id))
        self.statuses[old.status] -= 1
        self.statuses[new.status] += 1
        self._amended.add(at)
        self._at_hand[at] = new

    def __len__(self) -> int:
        return len(self._offsets)

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> list[Record]: ...
    def __getitem__(self, index: int | slice) -> Record | list[Record]:
        places = range(len(self))[index]
        return next(self._of([places])) if isinstance(places, int) else list(self._of(places))

    def __iter__(self) -> Iterator[Record]:
        return self._of(range(len(self)))

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Sequence)
            and len(self) == len(other)
            and all(one == another for one, another in zip(self, other, strict=True))
        )

    __hash__ = None  # type: ignore[assignment]  # as of a list, which this grows like

    def __repr__(self) -> str:
        return f"<{len(self)} trials{f' of {self._path}' if self._path else ''}>"

    def _of(self, places: Iterable[int]) -> Iterator[Record]:
        """The records of these numbers, each read when it is asked for."""
        for at in places:
            yield self._at_hand[at] if at in self._at_hand else self._read(at)

    def _read(self, at: int) -> Record:
        assert self._path is not None
        for _ in range(2):
            try:
                (record,) = records_at(self._path, [self._offsets[at]])
            except (LogError, OSError):
                record = None
            if record is not None and _mark(record.record_id) == self._marks[at]:
                return record
            self._find_again()
        raise LogError(
            f"trial {at} of this run stands no longer in {self._path}",
            hint="it was rewritten meanwhile, as by flashsched log compact: leave a log alone until its run has ended",
        )

    def _find_again(self) -> None:
        """The log was rewritten: learn where the records stand now."""
        places: dict[int, list[int]] = {}
        for at, mark in enumerate(self._marks):
            places.setdefault(mark, []).append(at)
        if self._path is not None and self._path.exists():
            for offset, found in glances(self._path):
                for at in places.get(_mark(found.record_id), ()):
                    self._offsets[at] = offset


def _mark(record_id: Any) -> int:
    return int.from_bytes(hashlib.blake2b(record_id.encode(), digest_size=8).digest(), "little")
