"""Tuning logs as tables: the door to pandas.

One row per trial (:func:`read_log`), one row per task and device (:func:`summarize`), and both of them for people:
:func:`to_text` for a terminal, :func:`to_html` for a browser (the page itself is drawn by ``tune/report_html.py``).
Measured and simulated trials are never ranked against each other.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from . import report_html
from .durable import FilePath
from .figures import figure_text, percent_text, seconds_text, shape_text
from .log import read
from .record import Record

__all__ = ["COLUMNS", "SUMMARY_COLUMNS", "frame", "read_log", "seconds_text", "summarize", "to_html", "to_text"]

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
}
"""Columns of :func:`read_log` and their dtypes. ``time_s`` is the median in seconds, NaN where there is none;
``gflops`` is 1e9 operations per second; ``share_of_roofline`` is the roofline's time over ``time_s``: 1 is the limit.
"""

SUMMARY_COLUMNS = (
    "op", "shape", "dtype", "device", "source", "trials", "valid", "failed", "time_s", "gflops", "share_of_roofline",
    "best_trial", "record_id", "task",
)  # fmt: skip

_GROUP = ["task", "device", "source"]


def read_log(paths: FilePath | Iterable[FilePath]) -> pd.DataFrame:
    """The trials of one log or of several, one row each, in the order of the logs; see :data:`COLUMNS`.

    Raises:
        LogError: no such log, or one that this version does not read. Damaged lines are skipped with a LogWarning.
    """
    several: Iterable[FilePath] = [paths] if isinstance(paths, str | os.PathLike) else paths
    return frame(_settled([record for path in several for record in read(path)]))


def _settled(records: Sequence[Record]) -> list[Record]:
    """*records* with each finalist once, as it was timed in the end, in the place of its first timing."""
    finals = {record.extra["retimes"]: record for record in records if "retimes" in record.extra}
    known = {record.record_id for record in records}
    return [
        finals.get(record.record_id, record)
        for record in records
        if "retimes" not in record.extra or record.extra["retimes"] not in known
    ]


def frame(records: Iterable[Record]) -> pd.DataFrame:
    """One row for each of *records*, with the columns of :func:`read_log`."""
    rows = [_row(record) for record in records]
    return pd.DataFrame({name: pd.Series([row[name] for row in rows], dtype=kind) for name, kind in COLUMNS.items()})


def summarize(df: pd.DataFrame) -> pd.DataFrame:
    """One row for each task, device and source: how many trials, how many valid, and the best of these.

    Valid is ``correct``; for simulated trials ``unverified`` too, as only finalists are verified.
    """
    rows = []
    for _, group in df.groupby(_GROUP, sort=False):
        first = group.iloc[0]
        valid = _valid(group)
        best = valid.iloc[int(valid["time_s"].argmin())] if len(valid) else None
        row = {name: first[name] for name in ("op", "shape", "dtype", "device", "source", "task")}
        row |= {"trials": len(group), "valid": len(valid), "failed": len(group) - len(valid)}
        for name in ("time_s", "gflops", "share_of_roofline"):
            row[name] = math.nan if best is None else best[name]
        row["best_trial"] = -1 if best is None else int(best["trial"])
        row["record_id"] = "" if best is None else best["record_id"]
        rows.append(row)
    table = pd.DataFrame(rows, columns=list(SUMMARY_COLUMNS))
    return table.sort_values(["source", "op", "device"], kind="stable", ignore_index=True)


def to_text(df: pd.DataFrame) -> str:
    """The summary of *df* as a table of plain text, and under it what failed and how often."""
    if df.empty:
        return "no trials"
    head = ("op", "shape", "dtype", "device", "source", "trials", "valid", "best", "GFLOP/s", "of roofline")
    rows = [
        (
            row["op"], shape_text(row["shape"]), row["dtype"], row["device"], row["source"], str(row["trials"]),
            str(row["valid"]), seconds_text(row["time_s"]), figure_text(row["gflops"]),
            percent_text(row["share_of_roofline"]),
        )
        for row in _records(summarize(df))
    ]  # fmt: skip
    lines = [_aligned(head, rows)]
    bad = df[~df.index.isin(_valid(df).index)]
    if len(bad):
        counts = ", ".join(f"{count} {status}" for status, count in bad["status"].value_counts().items())
        lines += ["", f"not valid: {counts}"]
    return "\n".join(lines)


def to_html(df: pd.DataFrame, title: str = "Tuning report") -> str:
    """One self-contained HTML page: for each task and device the best, the course of the search, the failures."""
    summaries = {tuple(row[name] for name in _GROUP): row for row in _records(summarize(df))}
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
            )
        )
    return report_html.page(title, sections)


def _row(record: Record) -> dict[str, Any]:
    time_s = record.median_s
    flops = _number(record.task.get("flops"))
    roofline_s = _number(record.extra.get("roofline_s"))
    some = time_s > 0
    return {
        "trial": record.trial,
        "op": str(record.task["op"]),
        "shape": tuple(record.task["shape"]),
        "dtype": str(record.task["dtype"]),
        "device": record.device,
        "source": record.source,
        "status": record.status,
        "time_s": time_s,
        "gflops": flops / time_s / 1e9 if some else math.nan,
        "share_of_roofline": roofline_s / time_s if some else math.nan,
        "error": record.error,
        "task": str(record.task["text"]),
        "record_id": record.record_id,
        "started_at": record.started_at,
        "seed": record.seed,
        "decisions": dict(record.trace.get("decisions") or {}),
    }


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
