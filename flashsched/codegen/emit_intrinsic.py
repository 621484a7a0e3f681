"""A tensorized loop to a call of its intrinsic's code: the features it needs, the pointers and strides it gets.

The code is LLVM text from elsewhere; `flashsched.codegen.link` puts it into the module, where it is always inlined.
"""

from __future__ import annotations

import warnings

from flashsched.codegen.emit_code import Import
from flashsched.codegen.emit_expr import Expressions
from flashsched.codegen.emit_state import State
from flashsched.codegen.target import Target
from flashsched.errors import LoweringError
from flashsched.schedule.intrinsic import Intrinsic, find_intrinsic
from flashsched.schedule.ir import For
from flashsched.schedule.match import Differs

__all__ = ["call_intrinsic"]


def call_intrinsic(loop: For, state: State, expressions: Expressions) -> None:
    """Write the call that does what the tensorized *loop* means.

    Raises:
        LoweringError: the CPU lacks a feature and there is no portable code; the arrays do not lie in memory as the
            code needs them.
    """
    known, part = find_intrinsic(loop.notes["intrinsic"]), loop.notes["part"]
    if state.lanes is not None:
        raise LoweringError(f"the tensorized loop {loop.var.name!r} stands in a vectorized loop")
    try:
        found = known.match(loop, part, state.ranges)
    except Differs as differs:
        raise LoweringError(
            f"{known.name!r} can't take these arrays: {differs}",
            hint="pass contiguous arrays, as numpy.ascontiguousarray makes them",
        ) from None
    text = _text(known, part, state.code.module.target)
    function = f"fs.intrinsic.{known.name}.{part}"
    arguments: list[tuple[str, str]] = []
    for buffer in known.buffers:
        bound = found.get(buffer)
        if bound is None:  # a reset takes the output only
            continue
        arguments.append(("ptr", expressions.memory.address(bound.buffer, bound.indices).text))
        for stride in bound.strides:
            arguments.append(("i64", str(stride) if isinstance(stride, int) else expressions.value(stride).text))
    module = state.code.module
    module.imports[f"intrinsic {known.name!r}, {part}"] = Import(text, function)
    module.declare(function, "void", [kind for kind, _ in arguments])
    state.code.line(f"call void @{function}({', '.join(f'{kind} {value}' for kind, value in arguments)})")


def _text(known: Intrinsic, part: str, target: Target) -> str:
    lacking = [feature for feature in known.features if not target.has(feature)]
    if not lacking:
        return known.how[part]
    if part in known.portable:
        warnings.warn(
            f"{target.cpu} lacks {', '.join(lacking)}: the portable code of {known.name} is used", stacklevel=2
        )
        return known.portable[part]
    raise LoweringError(
        f"intrinsic {known.name!r} needs a CPU with {', '.join(lacking)}, and {target.cpu} has not",
        hint="leave out tensorize for this CPU (vectorize the loop instead), or choose an intrinsic that it has",
    )
