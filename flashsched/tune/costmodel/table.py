"""Tables of what was measured: a row of features for each schedule, the prior's time and the measured one.

The table that ships with the package (``pretrained/cpu.npz``, by ``benchmarks/costmodel.py``) holds
plain arrays and no code. A forest is fitted to it when it is first needed, which takes less than a second, and kept in
the user's cache folder; what a run then measures corrects that forest, see `flashsched.tune.costmodel.cost_model`.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flashsched.hw.user_cache import cache_folder, write_whole
from flashsched.tune.costmodel.learners import Predict, lasting_forest
from flashsched.tune.costmodel.trees import Trees

__all__ = ["PRIOR", "Table", "base_model", "joined", "shipped"]

PRIOR = "log of the prior"
"""The name of a feature that every row has: the logarithm of the prior's seconds."""

_FOLDER = Path(__file__).with_name("pretrained")
_TREES = 40
_LEAF = 2
_TRIED = 0.7  # share of the features that a split is chosen among
_SHORTEST = 1e-12


@dataclass(frozen=True)
class Table:
    """Rows of measurements.

    Attributes:
        names: of the features, a column each.
        rows: the features.
        prior_s, measured_s: seconds, by row.
        noise: how far timings of a row were apart, as a logarithm: about the share of its time that is not known.
        task: which of *tasks* a row is of.
        tasks: what was run: ``op``, ``shape``, ``dtype``, ``options``, ``hash``, ``roofline_s``.
        about: on what machine, when, with which version.
    """

    names: tuple[str, ...]
    rows: NDArray[Any]
    prior_s: NDArray[Any]
    measured_s: NDArray[Any]
    noise: NDArray[Any]
    task: NDArray[Any]
    tasks: list[dict[str, Any]]
    about: dict[str, Any]

    @classmethod
    def of(cls, entries: Iterable[tuple[Mapping[str, Any], Mapping[str, float], float, float, float]],
           names: Sequence[str], about: Mapping[str, Any]) -> Table:  # fmt: skip
        """A table of ``(task, features, prior_s, measured_s, noise)``."""
        tasks: dict[str, dict[str, Any]] = {}
        places: dict[str, int] = {}
        kept = list(entries)
        for task, *_ in kept:
            places.setdefault(task["hash"], len(places))
            tasks.setdefault(task["hash"], dict(task))
        return cls(
            tuple(names),
            np.array([[row[name] for name in names] for _, row, *_ in kept], dtype=np.float32).reshape(-1, len(names)),
            np.array([prior for _, _, prior, _, _ in kept], dtype=np.float32),
            np.array([measured for _, _, _, measured, _ in kept], dtype=np.float32),
            np.array([noise for *_, noise in kept], dtype=np.float16),
            np.array([places[task["hash"]] for task, *_ in kept], dtype=np.int16),
            list(tasks.values()),
            dict(about),
        )

    def save(self, path: str | Path) -> None:
        """Write it, compressed; features are kept to three digits, which is what a tree can use."""
        np.savez_compressed(
            path,
            rows=np.ascontiguousarray(self.rows.astype(np.float16).T),
            prior_s=self.prior_s,
            measured_s=self.measured_s,
            noise=self.noise,
            task=self.task,
            text=np.frombuffer(
                json.dumps({"names": self.names, "tasks": self.tasks, "about": self.about}).encode(), dtype=np.uint8
            ),
        )

    @classmethod
    def load(cls, path: str | Path) -> Table:
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as file:
            text = json.loads(file["text"].tobytes())
            rows = np.ascontiguousarray(file["rows"].T.astype(np.float32))
            return cls(
                tuple(text["names"]), rows, file["prior_s"], file["measured_s"], file["noise"], file["task"],
                text["tasks"], text["about"],
            )  # fmt: skip

    def __len__(self) -> int:
        return len(self.rows)

    def only(self, chosen: NDArray[Any]) -> Table:
        """The rows where *chosen* is true."""
        return Table(
            self.names, self.rows[chosen], self.prior_s[chosen], self.measured_s[chosen], self.noise[chosen],
            self.task[chosen], self.tasks, self.about,
        )  # fmt: skip

    def rooflines_s(self) -> NDArray[Any]:
        """The roofline of each row's task."""
        by_task = np.array([task["roofline_s"] for task in self.tasks])
        found: NDArray[Any] = by_task[self.task]
        return found

    def fit(self, seed: int = 0) -> Trees:
        """A forest that orders schedules of one task: it predicts log seconds, less the task's median.

        What a task takes on the whole is not to be learned from others, and would only hide what tells its schedules
        apart.
        """
        logs = _log(self.measured_s)
        medians = np.array([float(np.median(logs[self.task == n])) if (self.task == n).any() else 0.0
                            for n in range(len(self.tasks))])  # fmt: skip
        return lasting_forest(self.inputs(), logs - medians[self.task], seed, _TREES, _LEAF, _TRIED)

    def inputs(self) -> NDArray[Any]:
        """The rows as the forest takes them: the features, then the prior."""
        return np.column_stack([self.rows, _log(self.prior_s)])


def joined(one: Table, other: Table) -> Table:
    """Both tables as one; a task of both is one task. What only *other* has as features is dropped, what it lacks 0."""
    places = {name: n for n, name in enumerate(other.names)}
    columns = [
        other.rows[:, places[name]] if name in places else np.zeros(len(other), dtype=np.float32) for name in one.names
    ]
    tasks = list(one.tasks)
    known = {task["hash"]: n for n, task in enumerate(tasks)}
    for task in other.tasks:
        if task["hash"] not in known:
            known[task["hash"]] = len(tasks)
            tasks.append(task)
    moved = np.array([known[task["hash"]] for task in other.tasks], dtype=np.int16)
    return Table(
        one.names,
        np.concatenate([one.rows, np.column_stack(columns)]),
        np.concatenate([one.prior_s, other.prior_s]),
        np.concatenate([one.measured_s, other.measured_s]),
        np.concatenate([one.noise, other.noise]),
        np.concatenate([one.task, moved[other.task]]),
        tasks,
        one.about,
    )


def shipped(device: str) -> Table | None:
    """The table that ships for *device*; None where there is none."""
    path = _FOLDER / f"{device}.npz"
    return Table.load(path) if path.exists() else None


@functools.lru_cache(maxsize=2)
def base_model(device: str) -> tuple[tuple[str, ...], Predict] | None:
    """The names of the features and the fitted forest of the table that ships for *device*; None without one."""
    table = shipped(device)
    return None if table is None else ((*table.names, PRIOR), _kept(table))


def _kept(table: Table) -> Trees:
    """The forest of *table*: as it was fitted before, if it was by this version of scikit-learn, else fitted now."""
    how = repr((version("scikit-learn"), table.names, _TREES, _LEAF, _TRIED))
    digest = hashlib.sha256(how.encode())
    for column in (table.rows, table.prior_s, table.measured_s, table.task):
        digest.update(column.tobytes())
    path = cache_folder() / "fits" / f"forest-{digest.hexdigest()[:32]}.npz"
    with contextlib.suppress(OSError, ValueError, zipfile.BadZipFile):
        return Trees.from_bytes(path.read_bytes())
    found = table.fit()
    with contextlib.suppress(OSError):  # a folder that can't be written costs the time of the fit
        write_whole(path, found.to_bytes())
    return found


def _log(seconds: NDArray[Any]) -> NDArray[Any]:
    found: NDArray[Any] = np.log(np.maximum(seconds.astype(np.float64), _SHORTEST))
    return found
