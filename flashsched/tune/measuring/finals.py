"""The end of a run: the best few are checked on other inputs and timed side by side, and one of them wins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from flashsched.errors import TuneError
from flashsched.tune.logs.record import Record
from flashsched.tune.measuring.timing import choose, tie_band
from flashsched.tune.result import VALID
from flashsched.tune.search.history import Entry, History
from flashsched.tune.task import Task

__all__ = ["settle"]

_FINALISTS = 4
_TIE = 0.02  # times that differ by less are called a tie


def settle(history: History, tell: Callable[[], None]) -> tuple[Record | None, list[Record]]:
    """The winner among the finalists, and those that tie with it; where all finalists fail, the next best are tried.

    The finalists' records stand in place of those of their trials from then on. *tell* is called before each round.

    Raises:
        TuneError: every finalist computed something wrong: the search has a fault in it.
    """
    settled: list[Record] = []
    for start in range(0, len(history.best), _FINALISTS):
        tell()
        settled += _timed(history, history.best[start : start + _FINALISTS])
        if any(record.status in VALID for record in settled):
            break
    good = [n for n, record in enumerate(settled) if record.status == "correct"]
    good = good or [n for n, record in enumerate(settled) if record.status in VALID]
    best: Record | None = None
    ties: list[Record] = []
    if good:
        samples = [settled[n].times_s for n in good]
        chosen = good[choose(samples, _TIE)]
        best = settled[chosen] = replace(settled[chosen], extra={**settled[chosen].extra, "best": True})
        ties = [settled[good[n]] for n in tie_band(samples, _TIE) if good[n] != chosen]
    for entry, record in zip(history.best, settled, strict=False):  # all that were tried, which are the first of them
        history.write(record)
        history.records.amend(entry.record, record)
    if not good:
        _raise_if_all_wrong(history.task, settled)
    return best, ties


def _timed(history: History, entries: Sequence[Entry]) -> list[Record]:
    """The final records of finalists, not yet written."""
    trials = history.runner.finals(history.task, [entry.candidate for entry in entries])
    settled = []
    for entry, trial in zip(entries, trials, strict=True):
        known = {name: entry.record.extra[name] for name in ("code",) if name in entry.record.extra}
        extra = {"retimes": entry.record.record_id, **known}
        settled.append(history.new_record(entry.candidate, trial, entry.record.trial, extra))
    return settled


def _raise_if_all_wrong(task: Task, finalists: Sequence[Record]) -> None:
    """A search whose every finalist computed something wrong has a fault in it, and is not to be passed over."""
    if finalists and all(record.status == "wrong" for record in finalists):
        raise TuneError(f"every finalist of {task!r} is wrong: {finalists[0].error}")
