"""Measuring on other machines: the door to dask.distributed.

A fleet is a Dask cluster: one scheduler, and on each device that measures one plain ``dask worker`` with a tag,
``--resources "flashsched-cpu=1"``. On the worker's side the same worker processes compile and measure as on this
machine (``cpu_runner.py``), so a candidate that crashes or hangs costs its trial and no worker. The coordinator
alone proposes and writes the log.

Who gets which candidates is decided here, not by Dask's scheduler: a device has one piece of work at a time, and a
piece whose worker is lost goes to another, once, one candidate at a time. A candidate that loses its worker twice is a
crash. Only workers of one kind of CPU take part, since times of different CPUs do not compare.
"""

from __future__ import annotations

import logging
import math
import pickle
import queue
import time
import warnings
from asyncio import CancelledError
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any

from flashsched.errors import TuneError
from flashsched.hw import DeviceSpec
from flashsched.tune.measuring.cpu_runner import JsonTrace
from flashsched.tune.measuring.fleet_worker import FleetSettings, FleetWork, introduce, work_on
from flashsched.tune.measuring.observers import check_observers
from flashsched.tune.measuring.verify import Reference
from flashsched.tune.task import Candidate, Task
from flashsched.tune.trial import NOTHING, Beside, Outcomes, Trial
from flashsched.tune.versions import versions

__all__ = ["FleetError", "FleetRunner", "FleetWarning"]

_TAG = "flashsched-cpu"
_LOOK_S = 0.5  # between two looks at who is there
_CONNECT_S = 10.0
_ABSENT_S = 20.0  # how long a fleet may have no worker, until the run ends; Dask's nannies restart theirs in a few
_PIECE = 8  # candidates that a worker is given at once
_SLACK_S = 60.0  # what a worker may take beside its candidates' own timeouts


class FleetError(TuneError):
    """The fleet cannot be reached, or no longer; the log holds every trial that was told."""


class FleetWarning(UserWarning):
    """A part of the fleet is not used, and why."""


@dataclass(eq=False)
class _Device:
    """A worker that measures, as the coordinator sees it."""

    address: str
    facts: dict[str, Any]
    piece: _Piece | None = None
    future: Any = None
    deadline: float = math.inf


@dataclass(frozen=True)
class _Piece:
    """Candidates by their numbers, and how often they lost their worker."""

    numbers: tuple[int, ...]
    lost: int = 0
    tell: bool = False  # what the reference says goes along


@dataclass
class _Job:
    """What a call of `run` or `finals` hands out."""

    task: Task
    traces: list[JsonTrace]
    best_s: float | None
    final: bool
    waiting: deque[_Piece] = field(default_factory=deque)
    expected: Any = None

    @property
    def has_own_reference(self) -> bool:
        return not self.task.is_registered and self.task.operator.reference is not None


class FleetRunner:
    """Measures on the workers of a Dask cluster.

    Args:
        address: the scheduler's, ``tcp://host:8786``; ``tcp://host:8786#zen4`` takes workers with the tag
            ``flashsched-zen4``, and no fragment those with ``flashsched-cpu``.
        seed: of the random inputs.
        jobs: compilations at once, on each worker; by default one a core.
        timeout_s: how long one candidate may take to compile, and again to run.
        observers: as of `flashsched.tune.measuring.cpu_runner.CpuRunner`.

    Raises:
        TuneError: the package distributed is not installed.
        FleetError: there is no scheduler at *address*, or no worker with the tag.
    """

    source = "measured"

    def __init__(
        self,
        address: str,
        seed: int = 0,
        jobs: int | None = None,
        timeout_s: float = 20.0,
        observers: Sequence[str] = (),
    ) -> None:
        try:
            import distributed
        except ImportError as error:
            raise TuneError("a fleet needs dask.distributed", hint="pip install 'flashsched[fleet]'") from error
        self.address, _, tag = address.partition("#")
        self._tag = f"flashsched-{tag}" if tag else _TAG
        self._settings = FleetSettings(f"{time.time_ns():x}", seed, timeout_s, check_observers(observers), jobs)
        self._devices: dict[str, _Device] = {}
        self._refused: set[str] = set()  # workers that may not take part
        self._ended: queue.SimpleQueue[Any] = queue.SimpleQueue()
        logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # what it says is said here in our words
        try:
            connect: Any = distributed.Client
            self._client = connect(self.address, timeout=_CONNECT_S, set_as_default=False)
        except (OSError, ValueError, TimeoutError) as error:
            raise FleetError(
                f"there is no Dask scheduler at {self.address}: {error}", hint="start one: dask scheduler --port 8786"
            ) from error
        try:
            self._facts: dict[str, Any] = {}
            self._look(wait=True)
        except BaseException:
            self._close()
            raise
        self.spec: DeviceSpec = self._facts["spec"]  # of the machines that measure, not of this one
        self.batch = _PIECE * len(self._devices)

    def target(self) -> dict[str, Any]:
        """Triple, cpu, features, caches and cores of the machines that measure."""
        return self._facts["target"]  # type: ignore[no-any-return]

    def __enter__(self) -> FleetRunner:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _close(self) -> None:
        for device in self._devices.values():
            if device.future is not None:
                with suppress(Exception):
                    device.future.cancel()
        with suppress(Exception):  # the scheduler may be gone
            self._client.close(timeout=2)

    def prepare(self, task: Task) -> None:
        """A worker of the fleet makes ready what it needs with its first candidate."""

    def run(
        self, task: Task, candidates: Sequence[Candidate], best_s: float | None, beside: Beside = NOTHING
    ) -> Outcomes:
        """Hand *candidates* out to the devices; each compiles and times what it got."""
        job = _Job(task, [candidate.trace.to_json() for candidate in candidates], best_s, final=False)
        size = max(1, min(_PIECE, -(-len(candidates) // max(1, len(self._devices)))))
        numbers = range(len(candidates))
        job.waiting.extend(_Piece(tuple(numbers[at : at + size])) for at in numbers[::size])
        yield from self._done(job)

    def finals(self, task: Task, candidates: Sequence[Candidate]) -> list[Trial]:
        """One device checks and times them all, side by side."""
        if not candidates:
            return []
        job = _Job(task, [candidate.trace.to_json() for candidate in candidates], None, final=True)
        job.waiting.append(_Piece(tuple(range(len(candidates)))))
        trials = dict(self._done(job))
        return [trials[number] for number in range(len(candidates))]

    # -- handing out and taking in --------------------------------------------------------------------------------

    def _done(self, job: _Job) -> Iterator[tuple[int, Trial]]:
        """The trials of *job* as they come in."""
        mine: set[_Device] = set()
        try:
            while job.waiting or mine:
                self._look(wait=not mine)
                for device in self._devices.values():
                    if device.future is None and job.waiting:
                        self._give(device, job.waiting.popleft(), job)
                        mine.add(device)
                try:
                    device, future = self._ended.get(timeout=_LOOK_S)
                except queue.Empty:  # what came in late, when this process slept perhaps, has come in all the same
                    late = [device for device in mine if time.monotonic() > device.deadline]
                else:
                    late = []
                    if device in mine and device.future is future and future.status != "cancelled":
                        mine.discard(device)
                        yield from self._taken(device, job)
                for device in [*late, *(d for d in mine if self._devices.get(d.address) is not d)]:
                    if device in mine:
                        mine.discard(device)
                        yield from self._lost(device, job)
        finally:
            for device in mine:  # nobody waits for it any more
                device.future.cancel()
                device.future = None

    def _give(self, device: _Device, piece: _Piece, job: _Job) -> None:
        own = job.has_own_reference
        if own and piece.tell and job.expected is None:
            job.expected = Reference(job.task, self._settings.seed + job.final).output
        work = FleetWork(
            self._settings,
            pickle.dumps(job.task),
            [job.traces[number] for number in piece.numbers],
            job.best_s,
            job.final,
            job.expected if own and piece.tell else None,
            told=not own,
        )
        device.piece, device.future = piece, self._submit(device.address, work_on, work)
        device.deadline = time.monotonic() + _SLACK_S + 2 * self._settings.timeout_s * len(piece.numbers)
        device.future.add_done_callback(lambda future: self._ended.put((device, future)))

    def _taken(self, device: _Device, job: _Job) -> Iterator[tuple[int, Trial]]:
        """What a device found."""
        piece, future = device.piece, device.future
        assert piece is not None
        device.piece = device.future = None
        error = future.exception()
        if error is not None:
            if type(error).__module__.startswith("distributed"):  # of Dask's doing: the worker was lost
                yield from self._again(piece, job, device.address)
                return
            raise error
        found = future.result()
        if found is None:
            job.waiting.appendleft(replace(piece, tell=True))
            return
        for number, trial in found:
            if trial.status == "correct":
                median = sorted(trial.times_s)[len(trial.times_s) // 2]
                job.best_s = median if job.best_s is None else min(job.best_s, median)
            yield piece.numbers[number], replace(trial, extra={**trial.extra, "host": device.facts["host"]})

    def _lost(self, device: _Device, job: _Job) -> Iterator[tuple[int, Trial]]:
        """A device went away with its work, or hangs."""
        piece = device.piece
        assert piece is not None
        with suppress(Exception):
            device.future.cancel()
        device.piece = device.future = None
        if self._devices.get(device.address) is device:  # it is there and does not answer
            self._refuse(device.address, "it does not answer")
        yield from self._again(piece, job, device.address)

    def _again(self, piece: _Piece, job: _Job, address: str) -> Iterator[tuple[int, Trial]]:
        if piece.lost:
            error = f"its worker was lost twice, the last time at {address}"
            yield from ((number, Trial("crash", [], error)) for number in piece.numbers)
            return
        apart = [piece.numbers] if job.final else [(number,) for number in piece.numbers]
        job.waiting.extendleft(_Piece(numbers, piece.lost + 1) for numbers in reversed(apart))

    # -- who is there ---------------------------------------------------------------------------------------------

    def _look(self, wait: bool) -> None:
        """See which workers came and went; with *wait*, until there is one.

        Raises:
            FleetError: the scheduler is gone, or no worker comes.
        """
        deadline = time.monotonic() + _ABSENT_S
        while True:
            there = self._tagged()
            for address in [address for address in self._devices if address not in there]:
                del self._devices[address]
            new = [address for address in there if address not in self._devices and address not in self._refused]
            for address, future in [(address, self._submit(address, introduce, self._settings)) for address in new]:
                self._admit(address, future)
            if self._devices or not wait:
                return
            if time.monotonic() > deadline:
                raise FleetError(
                    f"no worker of {self.address} has the tag {self._tag}, and none came in {_ABSENT_S:g} s",
                    hint=f'start one: dask worker {self.address} --nthreads 1 --resources "{self._tag}=1"',
                )
            time.sleep(_LOOK_S)

    def _tagged(self) -> list[str]:
        client = self._client  # its own scheduler_info() is silent where there is no answer
        found = self._asked(lambda: client.sync(client.scheduler.identity, n_workers=-1, callback_timeout=_CONNECT_S))
        workers: dict[str, Any] = found["workers"]
        return [address for address, facts in workers.items() if facts.get("resources", {}).get(self._tag, 0) >= 1]

    def _admit(self, address: str, future: Any) -> None:
        """Let a worker take part that introduces itself by *future*, if it is of the kind that the others are."""
        try:
            facts = future.result(timeout=_SLACK_S)
        except (TimeoutError, CancelledError):
            if address in self._tagged():
                self._refuse(address, "it does not answer")
            return
        except Exception as error:
            self._refuse(address, f"it cannot measure: {error}")
            return
        if not self._facts:
            self._facts = facts
        if facts["versions"]["flashsched"] != versions()["flashsched"]:
            here, there = versions()["flashsched"], facts["versions"]["flashsched"]
            self._refuse(address, f"it has flashsched {there}, and this is {here}")
        elif any(facts["target"].get(key) != self._facts["target"].get(key) for key in ("cpu", "vector_bits", "cores")):
            mine, other = (f"{f['cpu']} with {f['cores']} cores" for f in (self._facts["target"], facts["target"]))
            self._refuse(address, f"it is a {other}, and the others are {mine}; give each kind a tag of its own")
        else:
            self._devices[address] = _Device(address, facts)

    def _refuse(self, address: str, why: str) -> None:
        self._refused.add(address)
        self._devices.pop(address, None)
        warnings.warn(f"worker {address} takes no part: {why}", FleetWarning, stacklevel=2)

    def _submit(self, address: str, function: Callable[..., Any], given: Any) -> Any:
        resources: Mapping[str, float] = {self._tag: 1}
        return self._asked(
            lambda: self._client.submit(function, given, workers=[address], resources=resources, pure=False)
        )

    def _asked(self, question: Callable[[], Any]) -> Any:
        """What the scheduler says to *question*.

        Raises:
            FleetError: it is gone.
        """
        if self._client.status != "running":
            raise self._gone()
        try:
            return question()
        except FleetError:
            raise
        except (OSError, RuntimeError, CancelledError) as error:
            raise self._gone() from error

    def _gone(self) -> FleetError:
        return FleetError(
            f"the Dask scheduler at {self.address} is gone", hint="start it again, and go on with --resume"
        )
