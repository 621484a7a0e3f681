"""Whether a kernel computes what its task says: random inputs, poisoned outputs, guard pages, a float64 reference.

Nothing becomes the best before it passed here.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flashsched.codegen.guard_pages import guarded
from flashsched.errors import TuneError
from flashsched.te import dtypes
from flashsched.te.tensor import ComputeOp, graph
from flashsched.tune.task import Task

__all__ = ["Check", "Reference", "verify"]

Array = NDArray[Any]

_SLACK = 16.0  # how many times the expected rounding error of a sum is let pass; a lost term is far beyond it
_ROUNDINGS = 4.0  # roundings to the output's dtype that are let pass


@dataclass(frozen=True)
class Check:
    """The outcome: the largest error relative to its tolerance at that element (at most 1 where all is well)."""

    max_error: float
    tolerance: float
    where: tuple[int, ...] = ()
    got: str = ""
    expected: str = ""

    @property
    def ok(self) -> bool:
        """Whether every element is within tolerance."""
        return self.max_error <= self.tolerance

    def to_json(self) -> dict[str, Any]:
        """As a record keeps it: the largest absolute error, and what was allowed there."""
        return {"max_error": self.max_error, "tolerance": self.tolerance}

    def text(self) -> str:
        """What a record's error says."""
        at = f" at {list(self.where)}" if self.where else ""
        return f"wrong result{at}: {self.got}, expected {self.expected} (allowed {self.tolerance:.3g})"


class Reference:
    """Random inputs of a task and its result in float64 (integers exactly), computed once.

    Args:
        task: what is to be computed.
        seed: of the inputs.
        output: the result for these inputs where it is known already.

    Raises:
        TuneError: the operator's reference raises, or what it returns is no array of the output's shape.
    """

    def __init__(self, task: Task, seed: int, output: Array | None = None) -> None:
        self.task = task
        self.inputs = task.inputs(seed)
        if output is not None:
            self.output = output
        elif task.operator.reference is not None:
            self.output = _by_operator(task, task.operator.reference, self.inputs)
        else:
            self.output = _by_default_nest(task, self.inputs)
        self.tolerance = _tolerance(task, self.output)


def _by_operator(task: Task, function: Callable[..., Any], inputs: list[Array]) -> Array:
    """What *function*, the operator's reference, says."""
    sizes = dict(zip(task.operator.shape_names, task.shape, strict=False))
    try:
        with np.errstate(all="ignore"):
            result = np.asarray(_call(function, inputs, {**sizes, **task.operator.options, **task.options}))
    except Exception as error:
        raise TuneError(f"the reference of {task.op} raises {type(error).__name__}: {error}") from error
    shape = task.args()[-1].shape
    if result.shape != shape or result.dtype.kind == "O":
        raise TuneError(f"the reference of {task.op} gives {result.dtype}{list(result.shape)}, not shape {list(shape)}")
    exact = np.float64 if dtypes.is_float(task.args()[-1].dtype) else np.int64
    return result.astype(exact)


def _call(function: Callable[..., Any], inputs: list[Array], options: dict[str, Any]) -> Any:
    """*function* of the inputs, and of those options that it takes."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # a function written in C, which tells nothing
        return function(*inputs)
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return function(*inputs, **options)
    named = {p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)}
    positional = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)][: len(inputs)]
    return function(*inputs, **{k: v for k, v in options.items() if k in named and k not in positional})


def _by_default_nest(task: Task, inputs: list[Array]) -> Array:
    """What the te graph says, by its default nest: plain loops in the order of the definition, no primitive applied."""
    from flashsched.codegen.build import build
    from flashsched.schedule import create_schedule

    args = task.args()
    return np.asarray(build(create_schedule(args[-1]), args, name="reference")(*inputs))


def _tolerance(task: Task, output: Array) -> Array | float:
    """How far each element may be off: rounding to its own dtype, and that of the longest sum before it.

    A sum of *n* terms in a dtype of precision eps errs by about ``eps * sqrt(n) * scale`` (N. Higham, "Accuracy and
    Stability of Numerical Algorithms", 2002, 4.2), *scale* being the largest result. Integers may not be off at all.
    """
    out = task.args()[-1]
    if not dtypes.is_float(out.dtype):
        return 0.0
    finite = np.abs(np.where(np.isfinite(output), output, 0.0))
    scale = max(float(finite.max()) if finite.size else 0.0, 1e-30)
    tolerance = _ROUNDINGS * _eps(out.dtype) * finite
    sums = [op for op in graph([out]) if isinstance(op, ComputeOp) and op.reduce_axis]
    if not sums:
        return np.asarray(tolerance + _ROUNDINGS * _eps(out.dtype) * scale)
    rounding = task.operator.rounding
    slack = _SLACK * (1.0 if rounding is None else rounding(task.options))
    for op in sums:
        length = math.prod(axis.extent for axis in op.reduce_axis)
        tolerance = tolerance + slack * _eps(op.output(0).dtype) * math.sqrt(max(length, 1)) * scale
    return np.asarray(tolerance)


def _eps(dtype: str) -> float:
    if not dtypes.is_float(dtype):
        return 0.0
    return 2.0**-7 if dtype == "bfloat16" else float(np.finfo(dtype).eps)


def _largest(dtype: str) -> float:
    """From which size on a value may round to infinity."""
    return (2.0 - 2.0**-7) * 2.0**127 if dtype == "bfloat16" else float(np.finfo(dtype).max)


def verify(kernel: Callable[..., Any], reference: Reference) -> Check:
    """Run *kernel* on the reference's inputs, its output poisoned and all arrays ending at guard pages, and compare."""
    out = reference.task.args()[-1]
    inputs = [guarded(array.shape, array.dtype, array) for array in reference.inputs]
    result = guarded(out.known_shape, dtypes.numpy_dtype(out.dtype))
    kernel(*inputs, result)
    return compare(result, reference)


def compare(got: Array, reference: Reference) -> Check:
    """How *got* differs from the reference."""
    expected = reference.output
    if got.size == 0:
        return Check(0.0, 0.0)
    dtype = reference.task.args()[-1].dtype
    with np.errstate(all="ignore"):
        if not dtypes.is_float(dtype):
            found = got.view(np.uint8) if dtypes.is_bool(dtype) else got  # a bool's byte may be neither 0 nor 1
            error = (found != expected.astype(got.dtype)).astype(np.float64)
        else:
            wide, narrow = got.astype(np.float64), expected.astype(np.float64)
            same = (wide == narrow) | (np.isnan(wide) & np.isnan(narrow))
            overflow = np.isinf(wide) & (np.abs(narrow) >= _largest(dtype)) & (np.sign(wide) == np.sign(narrow))
            error = np.where(same | overflow, 0.0, np.abs(wide - narrow))
            error = np.where(np.isnan(error), np.inf, error)
    allowed = np.broadcast_to(np.asarray(reference.tolerance, dtype=np.float64), error.shape)
    excess = error - allowed
    worst = np.unravel_index(int(np.argmax(excess)), error.shape)
    large = 1e300  # JSON has no infinity
    return Check(
        float(min(error[worst], large)),
        float(allowed[worst]),
        tuple(int(i) for i in worst),
        str(got[worst]),
        str(expected[worst]),
    )
