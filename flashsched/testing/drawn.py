"""A te graph that a machine drew: arrays for it, sizes for it, and how a result is compared.

Apart from `flashsched.testing.graphs`, which draws them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

from flashsched.te import dtypes
from flashsched.te.evaluate import Array, run_graph
from flashsched.te.nodes import SizeVar
from flashsched.te.sizes import Size, Sizes, size_value, sizes_in
from flashsched.te.tensor import ComputeOp, PlaceholderOp, Tensor, graph
from flashsched.te.visit import walk

__all__ = ["Graph", "most_of", "some_sizes"]

_LARGEST = 11  # of a size that is known only when the inputs are


@dataclass(frozen=True)
class Graph:
    """A drawn program: *outputs* of *inputs* (in the order in which a kernel takes them), for any *sizes*."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    exact: bool
    sizes: tuple[SizeVar, ...] = ()

    def __repr__(self) -> str:
        lines = []
        for op in graph(self.outputs):
            if isinstance(op, PlaceholderOp):
                lines.append(f"{op.name}: {op.dtype}{list(op.shape)}")
            elif isinstance(op, ComputeOp):
                axes = ", ".join(f"{axis.name} < {axis.extent}" for axis in op.axis)
                ranges = "".join(f", {k!r}" for k in op.reduce_axis)
                lines += [f"{t.name}[{axes}{ranges}] = {t.dtype} {v}" for t, v in zip(op.outputs, op.body, strict=True)]
        return "\n".join([*lines, f"return {', '.join(t.name for t in self.outputs)}"])

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # what hypothesis shows of a failing example
        printer.text(repr(self))

    def feeds(self, seed: int = 0, sizes: Sizes | None = None) -> dict[Tensor, Array]:
        """Random arrays for the inputs, for these *sizes*."""
        rng = np.random.default_rng(seed)
        found: dict[Tensor, Array] = {}
        for tensor in self.inputs:
            dtype = dtypes.numpy_dtype(tensor.dtype)
            shape = tuple(size_value(size, sizes or {}) for size in tensor.shape)
            if not self.exact:
                found[tensor] = rng.uniform(0.5, 2.0, shape).astype(dtype)
                continue
            low, high = (0, 2) if dtypes.is_bool(tensor.dtype) else (-4, 5)
            low = 0 if dtypes.is_unsigned(tensor.dtype) else low
            found[tensor] = rng.integers(low, high, shape).astype(dtype)
        return found

    def check(self, found: Sequence[Array], feeds: Mapping[Tensor, Array]) -> None:
        """Compare *found*, the outputs that something computed, with the first oracle.

        Raises:
            AssertionError: a shape, a dtype or a value differs (by more than the tolerance, where the graph has one).
        """
        wanted = run_graph(self.outputs, feeds, None if self.exact else "float64")
        for tensor, ours, reference in zip(self.outputs, found, wanted, strict=True):
            assert ours.dtype == dtypes.numpy_dtype(tensor.dtype), f"{tensor.name} is {ours.dtype}"
            assert ours.shape == reference.shape, f"{tensor.name} has shape {ours.shape}"
            if self.exact:
                np.testing.assert_array_equal(ours, reference, err_msg=tensor.name)
            else:
                wide = np.asarray(ours.astype(np.float64))
                np.testing.assert_allclose(wide, reference, rtol=self.tolerance(), err_msg=tensor.name)

    def tolerance(self) -> float:
        """The relative error that rounding may add up to: each operation, and each term of a sum, costs an epsilon.

        All values are positive and no operation cancels, so relative errors just add up, ``exp`` and ``pow`` doubling
        them at most.
        """
        operations, epsilon = 0, 0.0
        for op in graph(self.outputs):
            if isinstance(op, ComputeOp):
                operations += math.prod(most_of(axis.extent) for axis in op.reduce_axis)
                for node in (node for value in op.body for node in walk(value)):
                    operations += 1
                    if dtypes.is_float(node.dtype):
                        epsilon = max(epsilon, {16: 2.0**-7, 32: 2.0**-23, 64: 2.0**-52}[dtypes.bits(node.dtype)])
        return 2 * operations * epsilon


def some_sizes(drawn: Graph) -> st.SearchStrategy[dict[SizeVar, int]]:
    """Numbers for the sizes of a graph."""
    return st.fixed_dictionaries({size: st.sampled_from((0, 1, 2, 3, 5, 7, 8, _LARGEST)) for size in drawn.sizes})


def most_of(size: Size) -> int:
    """What *size* is at most."""
    return size_value(size, dict.fromkeys(sizes_in((size,)), _LARGEST))
