"""What is asked of every schedule: it computes what NumPy computes, and its trace and its Python make it again.

Apart from `flashsched.testing.schedules`, which draws schedules: one that a test wrote by hand is asked the same.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from flashsched import te
from flashsched.codegen.interpreter import interpret
from flashsched.codegen.lower import CPU_PASSES, lower, program_of
from flashsched.schedule.schedule import Schedule, create_schedule
from flashsched.schedule.trace import Trace
from flashsched.te import dtypes
from flashsched.te.evaluate import Array, run_graph
from flashsched.te.sizes import Sizes, size_value
from flashsched.te.tensor import Tensor, graph

__all__ = ["check_meaning", "check_round_trip", "garbage", "whole_numbers"]


def whole_numbers(schedule: Schedule, seed: int = 0) -> dict[Tensor, Array]:
    """Small whole numbers for the inputs: sums and products of a few of them are exact, in any order."""
    rng = np.random.default_rng(seed)
    found: dict[Tensor, Array] = {}
    for tensor in schedule.inputs:
        low, high = (0, 2) if dtypes.is_bool(tensor.dtype) else (-3, 4)
        low = 0 if dtypes.is_unsigned(tensor.dtype) else low
        found[tensor] = np.asarray(rng.integers(low, high, tensor.known_shape)).astype(dtypes.numpy_dtype(tensor.dtype))
    return found


def garbage(tensor: Tensor, sizes: Sizes | None = None) -> Array:
    """An array for an output that holds nonsense, so that an element nobody writes is seen."""
    dtype = dtypes.numpy_dtype(tensor.dtype)
    shape = tuple(size_value(size, sizes or {}) for size in tensor.shape)
    bits = np.full(int(np.prod(shape)) * dtype.itemsize, 1 if dtypes.is_bool(tensor.dtype) else 0xA7, "uint8")
    return bits.view(dtype).reshape(shape)


def check_meaning(schedule: Schedule, *, compiled: bool = False, seed: int = 0) -> None:
    """Run the nest as it is scheduled and as it is lowered (and *compiled*), and compare with NumPy, exactly.

    The program must be one that is exact on small whole numbers.

    Raises:
        AssertionError: an output differs.
        InterpreterError: the nest breaks a promise.
    """
    feeds = whole_numbers(schedule, seed)
    wanted = run_graph(schedule.outputs, feeds)
    arrays = list(feeds.values())
    lowered = lower(schedule)
    _compare(schedule, interpret(program_of(schedule), arrays), wanted, "the scheduled nest")
    _compare(schedule, interpret(lowered, arrays), wanted, "the lowered nest")
    if compiled:
        from flashsched.codegen.build import build_program  # needs LLVM, which most checks do without

        for_cpu = lower(schedule, passes=CPU_PASSES)
        if str(for_cpu) != str(lowered):  # a nest for a GPU
            _compare(schedule, interpret(for_cpu, arrays), wanted, "the nest lowered for a CPU")
        outputs = [garbage(tensor) for tensor in schedule.outputs]
        build_program(for_cpu)(*arrays, *outputs)
        _compare(schedule, outputs, wanted, "the kernel")


def _compare(schedule: Schedule, found: list[Array], wanted: list[Array], what: str) -> None:
    for tensor, ours, reference in zip(schedule.outputs, found, wanted, strict=True):
        np.testing.assert_array_equal(ours, reference, err_msg=f"{tensor.name} of {what}\n{schedule}", strict=True)


def check_round_trip(schedule: Schedule) -> None:
    """Make the schedule again from its trace as JSON and from its Python, and compare traces and nests.

    Raises:
        AssertionError: one of them gives another schedule.
    """
    trace = Trace.from_json(json.loads(json.dumps(schedule.trace.to_json())))
    assert trace == schedule.trace
    again = create_schedule(list(schedule.outputs)).replay(trace)
    assert again.trace == schedule.trace
    assert str(again) == str(schedule)
    names: dict[str, Any] = {"te": te}
    for op in graph(schedule.outputs):
        names |= {tensor.name.replace(".", "_"): tensor for tensor in op.outputs}
    exec(schedule.to_python(), names)
    assert names["s"].trace.flat() == schedule.trace.flat(), schedule.to_python()
    assert str(names["s"]) == str(schedule)
