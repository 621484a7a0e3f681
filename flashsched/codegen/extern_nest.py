"""An extern stage whose nest is given: statements of the loop IR in place of a Python function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from flashsched.codegen.interpreter import interpret_nest
from flashsched.errors import user_line
from flashsched.schedule.ir import Buffer, Stmt
from flashsched.te import dtypes
from flashsched.te.external import ExternOp
from flashsched.te.sizes import Shape
from flashsched.te.tensor import Tensor

__all__ = ["extern_nest"]


def extern_nest(
    shapes: Sequence[Shape],
    inputs: Sequence[Tensor],
    nest: Callable[[Sequence[Buffer], Sequence[Buffer]], Stmt],
    types: Sequence[str],
    name: str = "extern",
) -> tuple[Tensor, ...]:
    """The outputs of a stage that is ``nest(input_buffers, output_buffers)``, a lowered nest that writes all of them.

    The nest is taken as it is: no primitive changes its loops. It is compiled with the rest, and the oracles learn what
    it computes from the interpreter. `flashsched.schedule.external.nest_over` makes *nest* of a ready statement.
    """
    kinds = [dtypes.check_dtype(t) for t in types]

    def function(*arrays: Any) -> None:
        reads = [Buffer(f"in{n}", t.shape, t.dtype) for n, t in enumerate(inputs)]
        writes = [Buffer(f"out{n}", s, t) for n, (s, t) in enumerate(zip(shapes, kinds, strict=True))]
        given = dict(zip(reads, (np.asarray(array) for array in arrays), strict=False))
        found = interpret_nest(nest(reads, writes), given, writes)
        for array, value in zip(arrays[len(reads) :], found, strict=True):
            array[...] = value

    function.__name__ = "nest"
    return ExternOp(name, inputs, shapes, kinds, function, nest, user_line()).outputs
