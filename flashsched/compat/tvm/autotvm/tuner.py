"""Tuners: in which order the points of a space are tried.

`XGBTuner` keeps TVM's name: it learns from what was measured which points will be fast, with the forest of randomised
trees that `fs.tune` uses rather than with XGBoost.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Sequence
from typing import Any

from flashsched.compat.tvm.autotvm.measure import (
    MeasureErrorNo,
    MeasureInput,
    MeasureResult,
    create_measure_batch,
    measure_option,
)
from flashsched.compat.tvm.autotvm.space import ConfigEntity
from flashsched.compat.tvm.autotvm.task import Task
from flashsched.errors import FlashschedError

__all__ = ["GATuner", "GridSearchTuner", "RandomTuner", "Tuner", "XGBTuner"]

logger = logging.getLogger("autotvm")

_SCALES = {"": 1.0, "M": 1e6, "G": 1e9, "T": 1e12}


class Tuner:
    """Base of the tuners: a subclass says in `next_batch` what to try, and learns in `update`.

    Attributes:
        best_config: the fastest point so far.
        best_flops: its operations a second.
        best_measure_pair: its input and result.
        best_iter: the number of its trial.
    """

    def __init__(self, task: Task, **kwargs: Any) -> None:
        self.param = kwargs
        self.task = task
        self.space = task.config_space
        self._rng = random.Random(0)
        self.reset()

    def reset(self) -> None:
        """Forget what was tried."""
        self.visited: set[int] = set()
        self.best_config: ConfigEntity | None = None
        self.best_flops = 0.0
        self.best_measure_pair: tuple[MeasureInput, MeasureResult] | None = None
        self.best_iter = 0
        self.error_ct_threshold = 150

    def has_next(self) -> bool:
        """Whether there is a point that was not tried."""
        return len(self.visited) < len(self.space)

    def next_indices(self, batch_size: int) -> list[int]:
        """The numbers of up to *batch_size* points that were not tried."""
        raise NotImplementedError

    def next_batch(self, batch_size: int) -> list[ConfigEntity]:
        """The next points; they count as tried."""
        chosen = list(dict.fromkeys(self.next_indices(batch_size)))[:batch_size]
        self.visited.update(chosen)
        return [self.space.get(index) for index in chosen]

    def update(self, inputs: Sequence[MeasureInput], results: Sequence[MeasureResult]) -> None:
        """Learn from results."""

    def load_history(self, data_set: Any, min_seed_records: int = 500) -> None:
        """Learn from the pairs of a log of the same task, and do not try those points again."""
        pairs = [(i, r) for i, r in data_set if i.task.workload == self.task.workload]
        for inp, _ in pairs:
            if 0 <= inp.config.index < len(self.space):
                self.visited.add(inp.config.index)
        if pairs:
            self.update([inp for inp, _ in pairs], [result for _, result in pairs])

    def tune(
        self,
        n_trial: int,
        measure_option: dict[str, Any] = measure_option(),  # noqa: B008  (the default of TVM's users, made once)
        early_stopping: int | None = None,
        callbacks: Sequence[Callable[..., None]] = (),
        si_prefix: str = "G",
    ) -> None:
        """Try *n_trial* points, or all there are.

        Args:
            n_trial: how many.
            measure_option: how they are measured.
            early_stopping: end after so many trials without a better one.
            callbacks: called as ``callback(tuner, inputs, results)`` after each batch.
            si_prefix: of the speeds that are logged: ``""``, ``"M"``, ``"G"`` or ``"T"``.
        """
        measure = create_measure_batch(self.task, measure_option)
        patience = early_stopping or 10**9
        done, errors, begin = 0, 0, time.time()
        try:
            while done < n_trial and self.has_next():
                configs = self.next_batch(min(8, n_trial - done))
                if not configs:
                    break
                inputs = [MeasureInput(self.task.target, self.task, config) for config in configs]
                results = measure(inputs)
                for number, (inp, result) in enumerate(zip(inputs, results, strict=True)):
                    errors = 0 if result.error_no == MeasureErrorNo.NO_ERROR else errors + 1
                    self._remember(done + number, inp, result, si_prefix)
                done += len(results)
                self.update(inputs, results)
                for callback in callbacks:
                    callback(self, inputs, results)
                if done >= self.best_iter + patience:
                    logger.debug("Early stopped. Best iter: %d.", self.best_iter)
                    break
                if errors > self.error_ct_threshold:
                    logger.warning("Too many errors happen in the tuning. Now is in debug mode")
                    self.error_ct_threshold = 10**9
        finally:
            measure.close()  # type: ignore[attr-defined]
        logger.debug("%d trials in %.1f s", done, time.time() - begin)

    def _remember(self, number: int, inp: MeasureInput, result: MeasureResult, si_prefix: str) -> None:
        flops = 0.0
        if result.error_no == MeasureErrorNo.NO_ERROR:
            flops = self.task.flop / (sum(result.costs) / len(result.costs))
        if flops > self.best_flops:
            self.best_flops, self.best_config, self.best_iter = flops, inp.config, number
            self.best_measure_pair = (inp, result)
        scale = _SCALES[si_prefix]
        logger.debug(
            "No: %d\t%sFLOPS: %.2f/%.2f\tresult: %s\t%s",
            number + 1, si_prefix, flops / scale, self.best_flops / scale, result, inp.config,
        )  # fmt: skip

    def unseen(self, count: int) -> list[int]:
        """Up to *count* points that were not tried, drawn evenly."""
        size = len(self.space)
        if size - len(self.visited) <= 4 * count or size <= 4096:
            left = [index for index in range(size) if index not in self.visited] if size <= 1 << 20 else []
            if left:
                return self._rng.sample(left, min(count, len(left)))
        found: dict[int, None] = {}
        for _ in range(50 * count):
            index = self._rng.randrange(size)
            if index not in self.visited:
                found[index] = None
            if len(found) == count:
                break
        return list(found)


class RandomTuner(Tuner):
    """Points in random order."""

    def next_indices(self, batch_size: int) -> list[int]:
        """Points drawn evenly."""
        return self.unseen(batch_size)


class GridSearchTuner(Tuner):
    """Points in the order of their numbers."""

    def reset(self) -> None:
        """Start again at the first."""
        super().reset()
        self.counter = 0

    def next_indices(self, batch_size: int) -> list[int]:
        """The next ones that were not tried."""
        found: list[int] = []
        while self.counter < len(self.space) and len(found) < batch_size:
            if self.counter not in self.visited:
                found.append(self.counter)
            self.counter += 1
        return found


class GATuner(Tuner):
    """A genetic search: options of good points are crossed and changed.

    Args:
        task: what is tuned.
        pop_size: points in a generation.
        elite_num: the best ones, that stay.
        mutation_prob: how often an option changes.
    """

    def __init__(self, task: Task, pop_size: int = 100, elite_num: int = 3, mutation_prob: float = 0.1) -> None:
        self._pop_size, self._elite_num, self._mutation = pop_size, elite_num, mutation_prob
        super().__init__(task)

    def reset(self) -> None:
        """Start with a random generation."""
        super().reset()
        self._scores: dict[int, float] = {}
        self._plan: list[int] = []

    def next_indices(self, batch_size: int) -> list[int]:
        """What is left of the generation; at its end, the next one."""
        while len(self._plan) < batch_size:
            fresh = self._children() if len(self._scores) >= 2 else self.unseen(self._pop_size)
            added = [index for index in dict.fromkeys(fresh) if index not in self.visited and index not in self._plan]
            self._plan += added or self.unseen(batch_size)
            if not added:
                break
        chosen, self._plan = self._plan[:batch_size], self._plan[batch_size:]
        return chosen

    def update(self, inputs: Sequence[MeasureInput], results: Sequence[MeasureResult]) -> None:
        """Keep the speed of each point."""
        for inp, result in zip(inputs, results, strict=True):
            good = result.error_no == MeasureErrorNo.NO_ERROR
            self._scores[inp.config.index] = self.task.flop / (sum(result.costs) / len(result.costs)) if good else 0.0

    def _children(self) -> list[int]:
        ranked = sorted(self._scores, key=lambda index: -self._scores[index])[: self._pop_size]
        weights = [self._scores[index] + 1e-9 for index in ranked]
        children = []
        for _ in range(self._pop_size):
            a, b = (self.space.knobs_of(index) for index in self._rng.choices(ranked, weights, k=2))
            cut = self._rng.randrange(len(a) + 1)
            genes = a[:cut] + b[cut:]
            for place, size in enumerate(self.space.dims):
                if self._rng.random() < self._mutation:
                    genes[place] = self._rng.randrange(size)
            children.append(self.space.index_of(genes))
        return children


class XGBTuner(Tuner):
    """Points that a learned model thinks fast, and some of each batch at random.

    Args:
        task: what is tuned.
        plan_size: points that are planned with one state of the model.
        feature_type: what the model sees: ``"itervar"`` and ``"curve"`` the scheduled nest, ``"knob"`` the options.
        others: accepted as TVM has them, and not needed.
    """

    def __init__(self, task: Task, plan_size: int = 64, feature_type: str = "itervar", **others: Any) -> None:
        self._plan_size, self._by_knobs = plan_size, feature_type == "knob"
        super().__init__(task, **others)

    def reset(self) -> None:
        """Forget what was learned."""
        from flashsched.tune.costmodel.cost_model import CostModel

        super().reset()
        self._model = CostModel()
        self._good: dict[int, float] = {}
        self._seen: dict[int, tuple[dict[str, float], float] | None] = {}

    def next_indices(self, batch_size: int) -> list[int]:
        """The best of a pool of neighbours of good points and of random ones, by the model."""
        pool = self.unseen(self._plan_size)
        for index in sorted(self._good, key=lambda known: self._good[known])[:8]:
            pool += [near for near in self._neighbours(index) if near not in self.visited]
        if len(self._model) < 8:
            return pool[:batch_size]
        known = [(index, self._features(index)) for index in dict.fromkeys(pool)]
        rows = [(index, found) for index, found in known if found is not None]
        if not rows:
            return pool[:batch_size]
        seconds, _ = self._model.predict([found[0] for _, found in rows], [found[1] for _, found in rows])
        ranked = [index for _, index in sorted(zip(seconds, (index for index, _ in rows), strict=True))]
        bold = max(1, batch_size // 8)
        return [*ranked[: batch_size - bold], *pool[:bold], *ranked[batch_size - bold :]]

    def _neighbours(self, index: int) -> list[int]:
        knobs = self.space.knobs_of(index)
        near = []
        for place, size in enumerate(self.space.dims):
            for step in (-1, 1):
                if 0 <= knobs[place] + step < size:
                    near.append(self.space.index_of([*knobs[:place], knobs[place] + step, *knobs[place + 1 :]]))
        return self._rng.sample(near, min(8, len(near)))

    def _features(self, index: int) -> tuple[dict[str, float], float] | None:
        """What the model sees of a point, and the device model's seconds; None where it is refused."""
        if index not in self._seen:
            self._seen[index] = self._read(index)
        return self._seen[index]

    def _read(self, index: int) -> tuple[dict[str, float], float] | None:
        if self._by_knobs:
            return {f"knob {n}": float(at) for n, at in enumerate(self.space.knobs_of(index))}, 1e-3
        from flashsched.codegen.analysis import simulate
        from flashsched.hw import devices
        from flashsched.tune.costmodel.features import features

        try:
            config = self.space.get(index)
            with self.task.target:
                sch, arg_bufs = self.task.instantiate(config)
            self.task.ours(sch, arg_bufs)
            spec = devices["cpu"]
            return features(sch.ours, spec), simulate(sch.ours, spec, warm=True).time_s
        except FlashschedError:
            return None

    def update(self, inputs: Sequence[MeasureInput], results: Sequence[MeasureResult]) -> None:
        """Let the model learn."""
        for inp, result in zip(inputs, results, strict=True):
            found = self._features(inp.config.index) if result.error_no == MeasureErrorNo.NO_ERROR else None
            if found is not None:
                cost = sum(result.costs) / len(result.costs)
                self._good[inp.config.index] = cost
                self._model.learn(*found, cost)
