"""A kernel with its arrays: looked at once, called and timed often."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from flashsched.codegen.arrays import Array
from flashsched.codegen.caller import Caller
from flashsched.codegen.python_entry import bound_function_for
from flashsched.codegen.repeat import repeater, seconds_of

__all__ = ["BoundKernel"]


class BoundKernel:
    """What `Kernel.bind` gives. Called with no arguments, it runs the kernel and returns what a call returns.

    It keeps the arrays alive, and goes on using the memory that they had when they were bound.

    Args:
        caller: what calls the kernel.
        words: the addresses of the arrays, then the numbers that go with them.
        result: what a call returns.
        arrays: those whose addresses are among *words*.

    Attributes:
        seconds: runs the kernel a number of times in a compiled loop; returns the seconds that all of them took.
    """

    __slots__ = ("__call__", "__weakref__", "seconds")

    seconds: Callable[[int], float]

    if TYPE_CHECKING:

        def __call__(self) -> Any: ...

    def __init__(self, caller: Caller, words: Sequence[int], result: Any, arrays: Sequence[Array]) -> None:
        self.seconds = seconds = _timed(caller, words, arrays)

        def once() -> Any:
            seconds(1)
            return result

        self.__call__ = bound_function_for(caller, words, result, arrays, once) or once  # type: ignore[method-assign]


def _timed(caller: Caller, words: Sequence[int], arrays: Sequence[Array]) -> Callable[[int], float]:
    entry = caller.module.address(caller.name)
    lacking = ctypes.c_int64(0)
    given = [*words, ctypes.addressof(lacking)] if caller.may_lack_memory else words
    passed = (ctypes.c_int64 * len(given))(*given)
    repeat = repeater(len(caller.params), len(caller.scalars), caller.may_lack_memory, caller.module.target)
    held = (caller, arrays)  # code and data live as long as the function that has their addresses

    def run(calls: int) -> float:
        assert held
        seconds = seconds_of(repeat, entry, passed, calls)
        if caller.externs is not None:
            caller.externs.raise_pending()
        if lacking.value:
            size, lacking.value = lacking.value, 0
            raise caller.lacks(size)
        return seconds

    return run
