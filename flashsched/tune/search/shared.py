"""One search by several coordinators: trials are exchanged through an Optuna study in a database.

Each coordinator proposes, measures and writes its own log as ever; what it finds it tells the study, and what others
found it learns, as it learns from a log that is resumed: nothing is tried that another one tried, and samplers and cost
model know the times of all. The database is on the way, never in the way: it is talked to by a thread of its own. When
it is lost, that is said once, and the search goes on alone; what was not told is told when it is back.

A trial of the study holds the record as the log has it, so the two can be compared, and a study can be looked at with
Optuna's own tools.
"""

from __future__ import annotations

import importlib.util
import logging
import queue
import threading
import time
import warnings
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, IntDistribution
from optuna.trial import TrialState

from flashsched.errors import LogError, TuneError
from flashsched.tune.logs.record import Record
from flashsched.tune.result import VALID
from flashsched.tune.task import Task

__all__ = ["SharedSearch", "StorageWarning", "study_name"]

_PAUSE_S = 0.5  # between two looks at the study
_MOST_PAUSE_S = 8.0  # while the database is lost
_LAST_S = 10.0  # and at its end for what it has not told yet


class StorageWarning(UserWarning):
    """The database of a shared search is lost, or some trials were not told to it."""


class SharedSearch:
    """What this coordinator tells others and hears from them, of one task on one kind of machine.

    Args:
        url: of the database, ``postgresql://user@host/name`` or another that SQLAlchemy knows.
        study: the study's name; those who use one name search together.

    Raises:
        TuneError: the database cannot be reached, or its driver is not installed.
    """

    def __init__(self, url: str, study: str) -> None:
        self.url, self.study = url, study
        self._me = f"{time.time_ns():x}-{threading.get_native_id():x}"
        self._told: queue.SimpleQueue[Record] = queue.SimpleQueue()
        self._heard: queue.SimpleQueue[Record] = queue.SimpleQueue()
        self._known: set[int] = set()  # numbers of the trials that were heard
        self._trouble: str | None = None  # that is not said yet
        self._waiting: Record | None = None  # taken to be told, and not told yet
        self._closing = threading.Event()
        try:
            self._opened = self._open()
            self._look()
        except Exception as error:  # SQLAlchemy's, the driver's, Optuna's
            raise TuneError(
                f"the storage {_plain(url)} cannot be used: {_first_line(error)}", hint=_hint(url)
            ) from error
        self._thread = threading.Thread(target=self._serve, name="flashsched-shared-search", daemon=True)
        self._thread.start()

    def tell(self, record: Record) -> None:
        """Let the others know of a trial, soon."""
        self._told.put(record)

    def news(self) -> list[Record]:
        """Trials of others that were not given out yet."""
        if self._trouble is not None:
            text, self._trouble = self._trouble, None
            _say(text)
        found = []
        with suppress(queue.Empty):
            while True:
                found.append(self._heard.get_nowait())
        return found

    def close(self) -> None:
        """Tell what is left to be told, if the database answers."""
        self._closing.set()
        self._thread.join(_LAST_S)
        self._hang_up()
        left = self._told.qsize() + (self._waiting is not None)
        self.news()
        if left:
            _say(f"{left} trial{'s were' if left > 1 else ' was'} not told to {_plain(self.url)}; the log has all")

    # -- the thread -----------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        pause, lost = _PAUSE_S, False
        while True:
            closing = self._closing.wait(pause)
            try:
                self._send()
                self._look()
                pause, lost = _PAUSE_S, False
            except Exception as error:
                if not lost:
                    self._trouble = (
                        f"the storage {_plain(self.url)} is lost ({_first_line(error)}); the search goes on alone, and "
                        "tells what it found when the storage is back"
                    )
                pause, lost = min(2 * pause, _MOST_PAUSE_S), True
            if closing:
                self._hang_up()
                return

    def _hang_up(self) -> None:
        """Close this thread's connection; there is one for each thread."""
        with suppress(Exception):
            self._storage.remove_session()
            self._storage.engine.dispose()

    def _open(self) -> optuna.Study:
        with _quietly():
            self._storage = optuna.storages.RDBStorage(
                _with_driver(self.url), engine_kwargs={"pool_pre_ping": True}, skip_compatibility_check=False
            )
            return optuna.create_study(storage=self._storage, study_name=self.study, load_if_exists=True)

    def _send(self) -> None:
        while True:
            if self._waiting is None:
                try:
                    self._waiting = self._told.get_nowait()
                except queue.Empty:
                    return
            with _quietly():
                self._opened.add_trial(_trial_of(self._waiting, self._me))
            self._waiting = None

    def _look(self) -> None:
        """Hear of new trials; Optuna asks the database for those only."""
        with _quietly():
            trials = self._opened.get_trials(deepcopy=False)
        for trial in trials:
            line = trial.user_attrs.get("record")
            if trial.number in self._known or not trial.state.is_finished():
                continue
            self._known.add(trial.number)
            if trial.user_attrs.get("by") == self._me or not isinstance(line, str):
                continue
            with suppress(LogError):  # of another version, or another's scribble
                self._heard.put(Record.from_json_line(line))


def study_name(task: Task, device: str, target: Mapping[str, Any]) -> str:
    """What runs of *task* share: whose times compare, and no others."""
    machine = [str(target[key]) for key in ("cpu", "vector_bits", "spec") if key in target]
    return " ".join(["flashsched", task.op, task.hash, device, *machine])


def _trial_of(record: Record, by: str) -> Any:
    decisions: dict[str, Any] = record.trace.get("decisions") or {}
    sizes: dict[str, int] = record.extra.get("sizes") or {}
    both = {name: sizes[name] for name in decisions if name in sizes}
    ranges: dict[str, BaseDistribution] = {f"{n}/{size}": IntDistribution(0, size - 1) for n, size in both.items()}
    valid = record.status in VALID
    return optuna.create_trial(
        state=TrialState.COMPLETE if valid else TrialState.FAIL,
        value=record.median_s if valid else None,
        params={f"{name}/{size}": decisions[name] for name, size in both.items()},
        distributions=ranges,
        user_attrs={"by": by, "record": record.to_json_line()},
    )


def _with_driver(url: str) -> str:
    """PostgreSQL by psycopg 3 where that is what is installed; SQLAlchemy would look for psycopg2."""
    head = "postgresql://"
    if url.startswith(head) and importlib.util.find_spec("psycopg2") is None:
        return "postgresql+psycopg://" + url[len(head) :]
    return url


def _hint(url: str) -> str:
    if url.startswith("postgresql") and not any(importlib.util.find_spec(name) for name in ("psycopg", "psycopg2")):
        return "pip install 'flashsched[fleet]' brings the driver psycopg"
    return "is the server up, and does the database exist? createdb NAME makes one"


def _plain(url: str) -> str:
    """*url* without a password."""
    scheme, separator, rest = url.partition("://")
    user, at, place = rest.rpartition("@")
    return f"{scheme}{separator}{user.split(':')[0]}{at}{place}"


def _say(text: str) -> None:
    warnings.warn(StorageWarning(text), stacklevel=3)


def _first_line(error: BaseException) -> str:
    return (str(error.__cause__ or error).strip() or type(error).__name__).splitlines()[0]


class _quietly:  # noqa: N801  (a context manager, used as a word)
    """Keep Optuna from reporting what it does."""

    def __enter__(self) -> None:
        self._level = logging.getLogger("optuna").level
        logging.getLogger("optuna").setLevel(logging.CRITICAL)

    def __exit__(self, *_: object) -> None:
        logging.getLogger("optuna").setLevel(self._level)
