"""The Pareto fronts of tuning logs: of runs for several objectives, the trials that no other beats in all of them.

Trials pass one by one, and what is beaten is dropped on the way, so that the memory is that of the fronts. No pandas
here: rows are dicts, `flashsched.tune.logs.report` makes tables of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from flashsched.tune.figures import figure_text, seconds_text, shape_text
from flashsched.tune.search.pareto import front

__all__ = ["FRONT_COLUMNS", "Fronts", "front_cells"]

_COLUMN_OF = {"time": "time_s", "energy": "energy_j", "code": "code"}
"""Where a trial tells an objective."""

FRONT_COLUMNS = (
    "op", "shape", "dtype", "device", "source", "objectives", "trial", "time_s", "energy_j", "code", "record_id",
    "task",
)  # fmt: skip

_ROOM = 256  # trials of a group that wait until the beaten are dropped


class Fronts:
    """The front of each task, device and source, of the trials so far."""

    def __init__(self) -> None:
        self._groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
        self._objectives: dict[tuple[str, str, str], set[str]] = {}

    def add(self, row: Mapping[str, Any]) -> None:
        """Take in a valid trial, a dict with `FRONT_COLUMNS`; one of a run for the time alone has no say here.

        ``row["objectives"]`` are the run's, as in ``"time, energy"``.
        """
        wanted = [name for name in row["objectives"].split(", ") if name in _COLUMN_OF]
        if len(wanted) < 2:
            return
        group = (row["task"], row["device"], row["source"])
        self._objectives.setdefault(group, set()).update(wanted)
        rows = self._groups.setdefault(group, [])
        rows.append({name: row[name] for name in FRONT_COLUMNS})
        if len(rows) >= 2 * _ROOM and len(rows) % _ROOM == 0:
            self._groups[group] = _unbeaten(rows, _COLUMN_OF.values())

    def groups(self) -> list[list[dict[str, Any]]]:
        """The rows of each front, the fastest first; its objectives are those of all its runs."""
        found = []
        for group, rows in self._groups.items():
            names = [name for name in _COLUMN_OF if name in self._objectives[group]]
            told = [row for row in rows if not any(math.isnan(row[_COLUMN_OF[name]]) for name in names)]
            # of trials that tie in what was searched for, the one that no other beats in all that is known
            kept = _unbeaten(_unbeaten(told, _COLUMN_OF.values()), [_COLUMN_OF[name] for name in names])
            kept.sort(key=lambda row: row["time_s"])
            found.append([{**row, "objectives": ", ".join(names)} for row in kept])
        return [rows for rows in found if rows]

    def rows(self) -> list[dict[str, Any]]:
        """The rows of all fronts."""
        return [row for rows in self.groups() for row in rows]

    def text(self) -> str:
        """Each front as a table of plain text; empty where no run had several objectives."""
        parts = []
        for rows in self.groups():
            first = rows[0]
            names = first["objectives"].split(", ")
            wanted = f"{', '.join(names[:-1])} and {names[-1]}"
            what = f"{first['op']} {shape_text(first['shape'])} {first['dtype']} on {first['device']}"
            count = f"{len(rows)} trials that none beats" if len(rows) > 1 else "one trial is best"
            cells = [("trial", *names), *((str(row["trial"]), *front_cells(row)) for row in rows)]
            widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
            lines = ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in cells]
            parts.append("\n".join([f"{what}, {wanted}: {count} in all", *(f"  {line}" for line in lines)]))
        return "\n\n".join(parts)


def front_cells(row: Mapping[str, Any]) -> list[str]:
    """What a row says of each of its objectives, for people."""
    told = {
        "time": seconds_text(row["time_s"]),
        "energy": f"{figure_text(1e3 * row['energy_j'])} mJ",
        "code": figure_text(row["code"]),
    }
    return [told[name] for name in row["objectives"].split(", ")]


def _unbeaten(rows: list[dict[str, Any]], columns: Any) -> list[dict[str, Any]]:
    names: Sequence[str] = list(columns)
    values = [[math.inf if math.isnan(row[name]) else row[name] for name in names] for row in rows]
    return [rows[at] for at in front(values)]
