"""Measurements as CSV: one file per source, device and operation; every row that cannot be used is counted and named.

Columns: ``device``, ``op``, ``measured_us`` (or ``min_us``), mostly ``dtype`` and ``source``, and the sizes.
"""

from __future__ import annotations

import csv
import math
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flashsched.errors import DeviceError

__all__ = ["Notes", "Table", "read_tables"]

_WANTED = "a CSV file has the columns device, dtype, op, measured_us, source, and the operation's sizes: m, n, k"

_TIMES = ("measured_us", "min_us")


@dataclass
class Notes:
    """What was left out, and why: how many rows for each reason, in the order they came up."""

    counts: Counter[str] = field(default_factory=Counter)
    texts: list[str] = field(default_factory=list)

    def skip(self, reason: str, rows: int = 1) -> None:
        """Count *rows* as left out for *reason*."""
        self.counts[reason] += rows

    def tell(self, text: str) -> None:
        """Remember a remark, once."""
        if text not in self.texts:
            self.texts.append(text)

    @property
    def lines(self) -> list[str]:
        """Every reason with its number of rows, then the remarks."""
        return [f"{count:,} rows left out: {reason}" for reason, count in self.counts.most_common()] + self.texts


@dataclass(frozen=True)
class Table:
    """The sound rows of one file: columns of text, the times, and each row's line in the file."""

    file: str
    columns: dict[str, NDArray[np.str_]]
    measured_s: NDArray[np.float64]
    lines: NDArray[np.int64]

    def text(self, name: str) -> NDArray[np.str_]:
        """The column *name*, empty texts where the file has none."""
        found = self.columns.get(name)
        return found if found is not None else np.full(len(self.lines), "", dtype="<U1")


def read_tables(data: Path, notes: Notes) -> list[Table]:
    """Every CSV file of measurements at or below *data*.

    Raises:
        DeviceError: *data* is not there, holds no CSV file, or is a single file without measurements.
    """
    if not data.exists():
        raise DeviceError(f"there is no {data}", hint="--data names a CSV file, or a folder of them")
    files = sorted(data.rglob("*.csv")) if data.is_dir() else [data]
    if not files:
        raise DeviceError(f"there is no CSV file in {data}", hint="one file per source, device and operation")
    tables = []
    for file in files:
        table, reason = _read(file, file.relative_to(data).as_posix() if data.is_dir() else file.name, notes)
        if table is None:
            if data.is_file():
                raise DeviceError(f"{file} holds no measurements: {reason}", hint=_WANTED)
            notes.tell(f"{file.name} is not read: {reason}")
        else:
            tables.append(table)
    return tables


def _read(file: Path, name: str, notes: Notes) -> tuple[Table | None, str]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream)
            head = [cell.strip() for cell in next(reader, [])]
            rows = [(reader.line_num, row) for row in reader if row]
    except (OSError, UnicodeDecodeError, csv.Error) as problem:
        return None, f"it is no CSV text ({problem})"
    if not head:
        return None, "it is empty"
    time = next((each for each in _TIMES if each in head), None)
    missing = [each for each in ("device", "op") if each not in head] + ([] if time else ["measured_us"])
    if missing or time is None:
        return None, f"it has no column {', '.join(missing)}"
    at = head.index(time)
    kept: list[list[str]] = []
    seconds: list[float] = []
    lines: list[int] = []
    torn = first_torn = 0
    for line, row in rows:
        if len(row) != len(head):
            torn += 1
            first_torn = first_torn or line
            continue
        try:
            value = float(row[at]) * 1e-6
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and value > 0):
            notes.skip(f"{name}: {time} is not a positive number")
            continue
        kept.append([cell.strip() for cell in row])
        seconds.append(value)
        lines.append(line)
    if torn:
        notes.skip(f"{name}: they have more or fewer fields than the head, the first in line {first_torn}", torn)
    if not kept:
        return None, "no row of it can be used"
    columns = {key: np.array([row[index] for row in kept]) for index, key in enumerate(head)}
    return Table(name, columns, np.array(seconds), np.array(lines, dtype=np.int64)), ""
