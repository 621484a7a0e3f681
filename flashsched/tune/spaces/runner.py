"""A runner that looks up instead of measuring, and a task whose candidates are the points of a table.

Where a table names its problem, candidates are that problem's schedules, with all that a cost model may read off them.
A table from elsewhere has no program: its candidates are one and the same nest with the decisions noted on its loop, so
that the tuner tells them apart, and every one of them has the same prior.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any

from flashsched import te
from flashsched.errors import Infeasible, ScheduleError, TuneError
from flashsched.hw import DeviceSpec
from flashsched.ops.operator import KnobsLike
from flashsched.schedule import Schedule
from flashsched.te.tensor import Tensor
from flashsched.tune.spaces.problems import PROBLEMS
from flashsched.tune.spaces.table import Space
from flashsched.tune.task import Candidate, Task
from flashsched.tune.trial import NOTHING, Beside, Outcomes, Trial

__all__ = ["SpaceTask", "TableRunner", "task_of"]


@dataclass
class _Node:
    """A question that a template asks after certain answers, or what it makes in the end."""

    question: tuple[str, Sequence[Any], Any] | None = None
    after: dict[int, _Node] = field(default_factory=dict)
    made: Candidate | None = None
    refused: Exception | None = None


class SpaceTask(Task):
    """A task that remembers the schedules of its points, so that hundreds of searches make each of them once."""

    _root: _Node

    def candidate(self, knobs: KnobsLike, spec: DeviceSpec, start: Schedule | None = None) -> Candidate:
        """The schedule that the template for *spec*, always the same, makes of *knobs*."""
        node: _Node = self.__dict__.setdefault("_root", _Node())
        while node.question is not None:
            name, options, default = node.question
            answer = knobs.choice(name, options, default)
            node = node.after.setdefault(list(options).index(answer), _Node())
        if node.made is None and node.refused is None:
            self._make(knobs, spec, start)
            return self.candidate(knobs, spec)  # what was asked is answered alike the second time
        if node.made is None:
            assert node.refused is not None
            raise node.refused
        return replace(node.made, decisions=dict(getattr(knobs, "decisions", {})))

    def _make(self, knobs: KnobsLike, spec: DeviceSpec, start: Schedule | None) -> None:
        """Run the template, and note its questions and what came of it."""
        noting = _Noting(knobs, self._root)
        try:
            made = super().candidate(noting, spec, start)
        except (Infeasible, ScheduleError) as error:
            noting.node.refused = error
        else:
            noting.node.made = made


class _Noting:
    """Knobs that note what they are asked in a tree."""

    def __init__(self, knobs: KnobsLike, root: _Node) -> None:
        self._knobs, self.node = knobs, root
        self._asked: set[str] = set()

    def choice(self, name: str, options: Sequence[Any], default: Any = None) -> Any:
        """The answer of the knobs."""
        answer = self._knobs.choice(name, options, default)
        if name not in self._asked:
            self._asked.add(name)
            self.node.question = name, list(options), default
            self.node = self.node.after.setdefault(list(options).index(answer), _Node())
        return answer

    def require(self, condition: object, text: str) -> None:
        """As the knobs."""
        self._knobs.require(condition, text)


def task_of(space: Space) -> SpaceTask:
    """The task whose candidates are the points of *space*.

    Raises:
        TuneError: the table names a problem that is not known.
    """
    kind = space.device_spec.kind
    if space.problem is None:
        return _noted_task(space, kind)
    if space.problem not in PROBLEMS:
        raise TuneError(f"space {space.name!r} is of the problem {space.problem!r}, which is not known here")
    problem = PROBLEMS[space.problem]
    return SpaceTask.from_te(problem.define(), name=problem.name, template={kind: problem.template})


def _noted_task(space: Space, kind: str) -> SpaceTask:
    x = te.placeholder((1024,), name="X")
    y = te.compute((1024,), lambda i: x[i] + 1.0, name="Y")

    def template(s: Schedule, args: list[Tensor], knobs: KnobsLike, spec: DeviceSpec) -> None:
        chosen = {name: knobs.choice(name, range(len(options))) for name, options in space.knobs.items()}
        space.point(chosen)
        loop = s[args[-1]].op.axis[0]
        for name, index in chosen.items():
            s[args[-1]].annotate(loop, name, index)

    return SpaceTask.from_te([x, y], name=space.name, template={kind: template})


class TableRunner:
    """Answers from a table, at once and always alike; `tried` holds what was asked, in order."""

    def __init__(self, space: Space, batch: int = 8) -> None:
        self.space = space
        self.spec = space.device_spec
        self.source = space.source
        self.batch = batch
        self.tried: list[float | None] = []

    def __enter__(self) -> TableRunner:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def target(self) -> dict[str, Any]:
        """The table's name and the device that it is of."""
        return {"device": self.spec.name, "spec": self.spec.fingerprint}

    def prepare(self, task: Task) -> None:
        """A table needs nothing."""

    def run(
        self, task: Task, candidates: Sequence[Candidate], best_s: float | None, beside: Beside = NOTHING
    ) -> Outcomes:
        """What the table says of each candidate."""
        for _ in beside:  # what was measured was compiled first, and more was proposed meanwhile
            pass
        for index, candidate in enumerate(candidates):
            yield index, self._trial(candidate)

    def finals(self, task: Task, candidates: Sequence[Candidate]) -> list[Trial]:
        """The same once more: a table has no noise to settle."""
        return [self._trial(candidate, noted=False) for candidate in candidates]

    def _trial(self, candidate: Candidate, noted: bool = True) -> Trial:
        try:
            point = self.space.point(candidate.decisions)
        except Infeasible as error:
            raise TuneError(
                f"{error.reason}: the template has changed since the table was made",
                hint="record it anew: python benchmarks/spaces.py",
            ) from None
        if noted:
            self.tried.append(point.time_s)
        if point.time_s is None:
            return Trial(point.status, [], f"{point.status}, says the table")
        if self.source == "simulated":
            return Trial("unverified", [point.time_s])
        return Trial("correct", [point.time_s], None, {"max_error": 0.0, "tolerance": 0.0})
