"""`Peer`, a library that is measured, and `Way`, one way in which it can do the work of a case."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from flashsched.bench.cases import Case
from flashsched.bench.computations import Array

__all__ = ["Peer", "Way", "Work", "aligned", "empty"]

_LINE = 64


@dataclass(frozen=True)
class Work:
    """A case with its arrays, to be done by so many threads."""

    case: Case
    inputs: list[Array]
    threads: int

    def contiguous(self, index: int) -> Array:
        """Input *index* as it lies in memory: the transpose of what it is where the case says `transposed`."""
        return self.inputs[index].swapaxes(-1, -2) if index in self.case.transposed else self.inputs[index]

    @property
    def activation(self) -> str | None:
        """The function that follows a product."""
        found: str | None = self.case.options.get("activation")
        return found


@dataclass(frozen=True)
class Way:
    """One way to do the work of a case.

    Attributes:
        name: what it is called in the results.
        call: does the work once.
        result: what the last call computed, in the layout that the case states.
    """

    name: str
    call: Callable[[], Any]
    result: Callable[[], Array]


@dataclass(frozen=True)
class Peer:
    """A library.

    Attributes:
        name: what it is called.
        title: what tables call it.
        module: what is imported.
        package: what is installed.
        ways: the ways in which it can do a piece of work, each prepared as it is asked for; the fastest that is right
            counts. None where it has no such operator.
        env: variables that its process gets.
        patience_s: seconds that it may take to prepare a case.
        remark: what a user should know before a run.
    """

    name: str
    title: str
    module: str
    package: str
    ways: Callable[[Work], Iterable[Way]]
    env: dict[str, str] = field(default_factory=dict)
    patience_s: float = 180.0
    remark: str = ""

    @property
    def installed(self) -> bool:
        """Whether the library is here."""
        return importlib.util.find_spec(self.module) is not None

    @property
    def version(self) -> str:
        """The version that is installed."""
        try:
            return importlib.metadata.version(self.package)
        except importlib.metadata.PackageNotFoundError:  # a checkout that was never installed
            return "unknown"


def empty(shape: tuple[int, ...], dtype: Any) -> Array:
    """A new array that begins at a cache line; full of NaN, so that what is not written shows.

    NumPy's own begin at any 16 bytes, where each load of a wide vector straddles two lines.
    """
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    room = np.empty(size + _LINE, np.uint8)
    first = -room.ctypes.data % _LINE
    array: Array = room[first : first + size].view(dtype).reshape(shape)
    array.fill(np.nan)
    return array


def aligned(array: Array) -> Array:
    """A copy of *array* that begins at a cache line."""
    made = empty(array.shape, array.dtype)
    made[...] = array
    return made
