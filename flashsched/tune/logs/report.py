"""Tuning logs as tables: the door to pandas.

One row per trial (:func:`read_log`), one row per task and device (:func:`summarize`), and both of them for people:
:func:`to_text` for a terminal, :func:`to_html` for a browser (the page itself is drawn by ``report_html.py``).
Measured and simulated trials are never ranked against each other.
"""

from __future__ import annotations

import math
import os
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from flashsched.errors import LogError, did_you_mean
from flashsched.tune.figures import figure_text, percent_text, seconds_text, shape_text
from flashsched.tune.logs import report_html
from flashsched.tune.logs.durable import FilePath
from flashsched.tune.logs.fronts import FRONT_COLUMNS, Fronts, front_cells
from flashsched.tune.logs.glance import Glance
from flashsched.tune.logs.log import LogWarning, glances
from flashsched.tune.logs.record import Record

__all__ = [
    "COLUMNS",
    "FRONT_COLUMNS",
    "SUMMARY_COLUMNS",
    "Summary",
    "as_frame",
    "frame",
    "fronts",
    "read_log",
    "seconds_text",
    "summarize",
    "summary",
    "table",
    "to_html",
    "to_text",
]

COLUMNS: dict[str, str] = {
    "trial": "int64",
    "op": "str",
    "shape": "object",  # tuple of ints
    "dtype": "str",
    "device": "str",
    "source": "str",
    "status": "str",
    "time_s": "float64",
    "gflops": "float64",
    "share_of_roofline": "float64",
    "error": "object",
    "task": "str",
    "record_id": "str",
    "started_at": "str",
    "seed": "object",
    "decisions": "object",  # dict: index of the option taken, by knob
    "energy_j": "float64",
    "code": "float64",
    "objectives": "str",
}
"""Columns of :func:`read_log` and their dtypes. ``time_s`` is the median in seconds, NaN where there is none;
``gflops`` is 1e9 operations per second; ``share_of_roofline`` is the roofline's time over ``time_s``: 1 is the limit.
``energy_j`` and ``code`` (instructions of the straight code) are what a simulated device tells beside the time, NaN
elsewhere, and ``objectives`` what the run was for: ``"time"``, or ``"time, energy"``.
"""

SUMMARY_COLUMNS = (
    "op", "shape", "dtype", "device", "source", "trials", "valid", "failed", "time_s", "gflops", "share_of_roofline",
    "best_trial", "record_id", "task",
)  # fmt: skip

_GROUP = ["task", "device", "source"]
_SUMMED = (
    "op", "shape", "dtype", "device", "source", "task", "status", "time_s", "gflops", "share_of_roofline", "trial",
    "record_id", "energy_j", "code", "objectives",
)  # fmt: skip


def read_log(paths: FilePath | Iterable[FilePath], columns: Sequence[str] = ()) -> pd.DataFrame:
    """The trials of one log or of several, one row each, in the order of the logs; see :data:`COLUMNS`.

    Args:
        paths: a log or several.
        columns: those that are wanted, by default all. Of a log with a million trials, ``decisions`` and
            ``record_id`` take most of the memory.

    Raises:
        LogError: no such log, or one that this version does not read, or no such column. Damaged lines are skipped
            with a LogWarning.
    """
    for name in columns:
        if name not in COLUMNS:
            raise LogError(f"a log has no column {name!r}", hint=did_you_mean(name, COLUMNS))
    wanted = tuple(columns) or tuple(COLUMNS)
    rows: dict[str, list[Any]] = {name: [] for name in wanted}
    columns_of = [(rows[name].append, _CELLS[name]) for name in wanted]
    for seen in _settled(_several(paths)):
        for append, cell in columns_of:
            append(cell(seen))
    return _frame(rows)


def summary(paths: FilePath | Iterable[FilePath]) -> Summary:
    """What logs hold in all, in memory that does not grow with them.

    Raises:
        LogError: as :func:`read_log`.
    """
    found = Summary()
    for seen in _settled(_several(paths)):
        found.add(*(_CELLS[name](seen) for name in _SUMMED))
    return found


def _several(paths: FilePath | Iterable[FilePath]) -> list[FilePath]:
    return [paths] if isinstance(paths, str | os.PathLike) else list(paths)


def _settled(paths: Sequence[FilePath]) -> Iterator[Glance]:
    """The trials, with each finalist once, as it was timed in the end, in the place of its first timing.

    Twice through the logs: finalists are few, and known from the first time.
    """
    finals: dict[str, Glance] = {}
    for path in paths:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LogWarning)  # the second time tells them
            found = (seen for _, seen in glances(path, lambda line: b'"retimes":' not in line))
            finals |= {seen.extra["retimes"]: seen for seen in found if "retimes" in seen.extra}
    first: set[str] = set()  # timings that were replaced; what another process appends meanwhile is left alone
    alone: list[Glance] = []
    for path in paths:
        for _, seen in glances(path):
            if "retimes" not in seen.extra:
                if seen.record_id in finals:
                    first.add(seen.record_id)
                yield finals.get(seen.record_id, seen)
            elif seen.extra["retimes"] in finals and seen.extra["retimes"] not in first:
                alone.append(seen)
    yield from (seen for seen in alone if seen.extra["retimes"] not in first)


def frame(records: Iterable[Record]) -> pd.DataFrame:
    """One row for each of *records*, with the columns of :func:`read_log`."""
    seen = [Glance.of(record) for record in records]
    return _frame({name: [cell(item) for item in seen] for name, cell in _CELLS.items()})


def as_frame(columns: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Any table, given as columns or as records, as a DataFrame: for parts of the package that may not know pandas."""
    return pd.DataFrame(columns)


def _frame(rows: Mapping[str, list[Any]]) -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series(row, dtype=COLUMNS[name]) for name, row in rows.items()})


class Summary:
    """Trials counted for each task, device and source: how many, how many valid, and the best of these.

    Valid is ``correct``; for simulated trials ``unverified`` too, as only finalists are verified.
    """

    def __init__(self) -> None:
        self._groups: dict[tuple[str, str, str], dict[str, Any]] = {}
        self.failed: Counter[str] = Counter()
        """Trials that are not valid, by status."""
        self.fronts = Fronts()
        """What runs for several objectives found."""

    def add(
        self, op: str, shape: tuple[int, ...], dtype: str, device: str, source: str, task: str, status: str,
        time_s: float, gflops: float, share_of_roofline: float, trial: int, record_id: str, energy_j: float,
        code: float, objectives: str,
    ) -> None:  # fmt: skip
        """Count a trial, the columns of :func:`read_log` one by one."""
        row = self._groups.get((task, device, source))
        if row is None:
            row = {"op": op, "shape": shape, "dtype": dtype, "device": device, "source": source, "task": task}
            row |= {"trials": 0, "valid": 0, "time_s": math.nan, "gflops": math.nan, "share_of_roofline": math.nan}
            row |= {"best_trial": -1, "record_id": ""}
            self._groups[task, device, source] = row
        row["trials"] += 1
        if not _is_valid(status, source, time_s):
            self.failed[status] += 1
            return
        row["valid"] += 1
        if objectives != "time":
            self.fronts.add(
                {**row, "objectives": objectives, "trial": trial, "time_s": time_s, "energy_j": energy_j, "code": code,
                 "record_id": record_id}
            )  # fmt: skip
        if not time_s >= row["time_s"]:
            row |= {"time_s": time_s, "gflops": gflops, "share_of_roofline": share_of_roofline}
            row |= {"best_trial": trial, "record_id": record_id}

    def table(self) -> pd.DataFrame:
        """One row for each task, device and source; see :data:`SUMMARY_COLUMNS`."""
        rows = [{**row, "failed": row["trials"] - row["valid"]} for row in self._groups.values()]
        table = pd.DataFrame(rows, columns=list(SUMMARY_COLUMNS))
        return table.sort_values(["source", "op", "device"], kind="stable", ignore_index=True)

    def text(self) -> str:
        """The table as plain text, and under it what failed and how often, and the fronts."""
        if not self._groups:
            return "no trials"
        head = ("op", "shape", "dtype", "device", "source", "trials", "valid", "best", "GFLOP/s", "of roofline")
        rows = [
            (
                row["op"], shape_text(row["shape"]), row["dtype"], row["device"], row["source"], str(row["trials"]),
                str(row["valid"]), seconds_text(row["time_s"]), figure_text(row["gflops"]),
                percent_text(row["share_of_roofline"]),
            )
            for row in _records(self.table())
        ]  # fmt: skip
        lines = [_aligned(head, rows)]
        if self.failed:
            counts = ", ".join(f"{count} {status}" for status, count in self.failed.most_common())
            lines += ["", f"not valid: {counts}"]
        if fronts := self.fronts.text():
            lines += ["", fronts]
        return "\n".join(lines)


def _summary_of(df: pd.DataFrame) -> Summary:
    found = Summary()
    for row in zip(*(df[name] for name in _SUMMED), strict=True):
        found.add(*row)
    return found


def summarize(df: pd.DataFrame) -> pd.DataFrame:
    """One row for each task, device and source of the trials in *df*; see `Summary`."""
    return _summary_of(df).table()


def fronts(df: pd.DataFrame) -> pd.DataFrame:
    """Of runs for several objectives, the trials in *df* that no other of their task, device and source beats in all.

    One row each, with `FRONT_COLUMNS`, the fastest of a front first; empty where all runs were for the time alone.
    """
    return pd.DataFrame(_summary_of(df).fronts.rows(), columns=list(FRONT_COLUMNS))


def to_text(df: pd.DataFrame) -> str:
    """The summary of *df* as a table of plain text, and under it what failed and how often, and Pareto fronts."""
    return _summary_of(df).text()


def to_html(df: pd.DataFrame, title: str = "Tuning report") -> str:
    """One self-contained HTML page: for each task and device the best, the course of the search, the failures."""
    whole = _summary_of(df)
    summaries = {tuple(row[name] for name in _GROUP): row for row in _records(whole.table())}
    unbeaten = {tuple(rows[0][name] for name in _GROUP): rows for rows in whole.fronts.groups()}
    sections = []
    for key, group in df.groupby(_GROUP, sort=False):
        row = summaries[key]
        ordered = group.sort_values(["started_at", "trial"], kind="stable")
        valid = set(_valid(group).index)
        sections.append(
            report_html.Section(
                title=f"{row['op']} {shape_text(row['shape'])} {row['dtype']}",
                device=row["device"],
                source=row["source"],
                figures=[
                    ("best time", seconds_text(row["time_s"])),
                    ("GFLOP/s", figure_text(row["gflops"])),
                    ("of the roofline", percent_text(row["share_of_roofline"])),
                    ("valid trials", f"{row['valid']} of {row['trials']}"),
                ],
                trials=[
                    report_html.Trial(
                        number=int(trial["trial"]),
                        time_s=float(trial["time_s"]) if index in valid else None,
                        time_text=seconds_text(trial["time_s"]),
                        status=trial["status"],
                        error=trial["error"] or "",
                        decisions=", ".join(f"{name}={value}" for name, value in trial["decisions"].items()),
                    )
                    for index, trial in zip(ordered.index, _records(ordered), strict=True)
                ],
                front=[(f"trial {found['trial']}", *front_cells(found)) for found in unbeaten.get(tuple(key), ())],
                objectives=next((rows[0]["objectives"] for rows in [unbeaten.get(tuple(key))] if rows), ""),
            )
        )
    return report_html.page(title, sections)


def _gflops(seen: Glance) -> float:
    time_s = seen.median_s
    return _number(seen.task.get("flops")) / time_s / 1e9 if time_s > 0 else math.nan


def _share(seen: Glance) -> float:
    time_s = seen.median_s
    return _number(seen.extra.get("roofline_s")) / time_s if time_s > 0 else math.nan


_CELLS: dict[str, Callable[[Glance], Any]] = {
    "trial": lambda seen: seen.trial,
    "op": lambda seen: str(seen.task["op"]),
    "shape": lambda seen: tuple(seen.task["shape"]),
    "dtype": lambda seen: str(seen.task["dtype"]),
    "device": lambda seen: sys.intern(seen.device),  # thousands of rows share one text
    "source": lambda seen: sys.intern(seen.source),
    "status": lambda seen: sys.intern(seen.status),
    "time_s": lambda seen: seen.median_s,
    "gflops": _gflops,
    "share_of_roofline": _share,
    "error": lambda seen: seen.error,
    "task": lambda seen: str(seen.task["text"]),
    "record_id": lambda seen: seen.record_id,
    "started_at": lambda seen: seen.started_at,
    "seed": lambda seen: seen.seed,
    "decisions": lambda seen: seen.decisions,
    "energy_j": lambda seen: _number(seen.extra.get("energy_j")),
    "code": lambda seen: _number(seen.extra.get("code")),
    "objectives": lambda seen: sys.intern(", ".join(map(str, seen.extra.get("objectives") or ("time",)))),
}
"""How a record gives each of the columns."""


def _is_valid(status: str, source: str, time_s: float) -> bool:
    """Whether a trial may be the best."""
    return (status == "correct" or (status == "unverified" and source == "simulated")) and not math.isnan(time_s)


def _valid(df: pd.DataFrame) -> pd.DataFrame:
    """The rows that may be the best."""
    simulated = (df["source"] == "simulated") & (df["status"] == "unverified")
    return df[((df["status"] == "correct") | simulated) & df["time_s"].notna()]


def _records(df: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as dicts."""
    return [{str(name): value for name, value in row.items()} for row in df.to_dict("records")]


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan


def _aligned(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table with its columns in line: text to the left, numbers (from the sixth column on) to the right."""
    widths = [max(len(row[at]) for row in [head, *rows]) for at in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(widths[at]) if at < 5 else cell.rjust(widths[at]) for at, cell in enumerate(row)).rstrip()
        for row in [head, *rows]
    )


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None) -> pd.DataFrame:
    """*rows* as a DataFrame; with *columns* it has those, even where there are no rows."""
    return pd.DataFrame(list(rows), columns=None if columns is None else list(columns))
