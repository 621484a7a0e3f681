"""Lowering: from a schedule to a program of plain loops and stores, by the passes of one list.

`PASSES` reads aloud what happens. Each pass is a function from a statement to a statement that keeps what the nest
computes; ask `lower` to show each by giving it *on_pass*.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from flashsched.codegen.passes.allocate import allocate
from flashsched.codegen.passes.auto_unroll import auto_unroll
from flashsched.codegen.passes.cut_tails import cut_tails
from flashsched.codegen.passes.guards import hoist_guards
from flashsched.codegen.passes.hold_in_lanes import hold_in_lanes
from flashsched.codegen.passes.keep_in_registers import keep_in_registers
from flashsched.codegen.passes.open_blocks import open_blocks
from flashsched.codegen.passes.partition_loops import partition_loops
from flashsched.codegen.passes.pipeline_loops import pipeline_loops
from flashsched.codegen.passes.place_barriers import place_barriers
from flashsched.codegen.passes.place_init import place_init
from flashsched.codegen.passes.place_prefetches import place_prefetches
from flashsched.codegen.passes.rest_unread import rest_unread
from flashsched.codegen.passes.serial_threads import serial_threads
from flashsched.codegen.passes.settle_tensorized import settle_tensorized
from flashsched.codegen.passes.specialize_sizes import specialize_sizes, where_sizes_are
from flashsched.codegen.passes.tidy import tidy
from flashsched.codegen.passes.unroll_loops import unroll_loops
from flashsched.codegen.passes.virtual_threads import virtual_threads
from flashsched.codegen.passes.whole_vectors import whole_vectors
from flashsched.errors import KernelError, ShapeError
from flashsched.schedule.ir import Buffer, Stmt
from flashsched.schedule.program import Program
from flashsched.schedule.schedule import Schedule
from flashsched.schedule.state import State
from flashsched.schedule.stores import with_stores
from flashsched.te.binding import check_sizes
from flashsched.te.expr import Expr, SizeVar
from flashsched.te.scalars import scalar_tensor
from flashsched.te.simplify import bounds
from flashsched.te.tensor import PlaceholderOp, Tensor

__all__ = ["CPU_PASSES", "GPU_PASSES", "PASSES", "OnPass", "Pass", "lower", "program_of", "run_passes"]

OnPass: TypeAlias = Callable[[str, Program, float], None]
"""``on_pass(name, program, seconds)``, called after each pass."""

Pass: TypeAlias = tuple[str, Callable[[Stmt, frozenset[Buffer]], Stmt]]

PASSES: tuple[Pass, ...] = (
    ("specialize_sizes", specialize_sizes),
    ("place_init", lambda body, given: place_init(body)),
    ("open_blocks", lambda body, given: open_blocks(body)),
    ("allocate", allocate),
    ("pipeline_loops", pipeline_loops),
    ("place_prefetches", lambda body, given: place_prefetches(body)),
    ("virtual_threads", lambda body, given: virtual_threads(body)),
    ("hoist_guards", lambda body, given: hoist_guards(body)),
    ("tidy", lambda body, given: tidy(body)),
    ("rest_unread", lambda body, given: rest_unread(body)),
    ("cut_tails", lambda body, given: cut_tails(body)),
    ("partition_loops", lambda body, given: partition_loops(body)),
    ("settle_tensorized", lambda body, given: settle_tensorized(body)),
    ("auto_unroll", lambda body, given: auto_unroll(body)),
    ("unroll_loops", lambda body, given: unroll_loops(body)),
    ("keep_in_registers", lambda body, given: keep_in_registers(body)),
)
"""The passes in order: name and function ``(body, the caller's buffers) -> body``."""

_SERIAL: Pass = ("serial_threads", lambda body, given: serial_threads(body))
_PLACE = [name for name, _ in PASSES].index("hoist_guards")

CPU_PASSES: tuple[Pass, ...] = (*PASSES[:_PLACE], _SERIAL, *PASSES[_PLACE:])
"""The same for a CPU, where the blocks and threads of a GPU's nest are loops, before conditions move about."""

GPU_PASSES: tuple[Pass, ...] = (
    *PASSES[:_PLACE],
    ("hold_in_lanes", lambda body, given: hold_in_lanes(body)),
    ("place_barriers", lambda body, given: place_barriers(body)),
    ("whole_vectors", lambda body, given: whole_vectors(body)),
    *PASSES[_PLACE:],
)
"""The same for a GPU that code is made for, whose threads wait for each other where they must."""


def lower(
    schedule: Schedule,
    args: Sequence[Tensor | Expr] | None = None,
    name: str = "kernel",
    on_pass: OnPass | None = None,
    passes: Sequence[Pass] = PASSES,
    specialize: Sequence[Mapping[SizeVar, int]] = (),
) -> Program:
    """The program of *schedule* after all passes.

    Args:
        schedule: what to lower.
        args: what the caller passes: inputs (tensors, scalars, and sizes that are to be passed), then outputs; by
            default all tensors and scalars, inputs in the order in which they are first read.
        name: the program's name.
        on_pass: called after each pass.
        passes: what to run: `CPU_PASSES` for a nest that a CPU is to run.
        specialize: choices of sizes for which the program gets a copy of its own, where they are numbers.

    Raises:
        KernelError: *args* leaves out an input or an output, or names something that is neither or one thing twice.
        LoweringError: the nest is too large to lower.
        ShapeError: a choice names something else than a size of the program, or gives it no number.
    """
    program = program_of(schedule, args, name)
    given = (*program.params, *program.outputs)
    general = program.body
    if specialize:
        program = program.with_body(specialize_sizes(general, given))
    for sizes in reversed(specialize):
        chosen = check_sizes(sizes)
        unknown = [size.name for size in chosen if size not in program.sizes]
        if unknown or not chosen:
            raise ShapeError(
                f"specialize names {', '.join(unknown) or 'no size'}, and the sizes of the program are "
                f"{', '.join(size.name for size in program.sizes) or 'none'}",
                hint="specialize=[{n: 512}, {n: 1024}]",
            )
        program = program.with_body(where_sizes_are(program.body, general, chosen, given))
    return run_passes(program, passes, on_pass)


def run_passes(program: Program, passes: Sequence[Pass] = PASSES, on_pass: OnPass | None = None) -> Program:
    """*program*, a scheduled nest with the buffers of its caller, after *passes*.

    Raises:
        LoweringError: the nest is too large to lower.
    """
    given = frozenset((*program.params, *program.outputs))
    for title, run in passes:
        start = time.perf_counter()
        program = program.with_body(run(program.body, given))
        if on_pass is not None:
            on_pass(title, program, time.perf_counter() - start)
    return program


def program_of(schedule: Schedule, args: Sequence[Tensor | Expr] | None = None, name: str = "kernel") -> Program:
    """The scheduled nest with the buffers of its caller, before any pass.

    Raises:
        KernelError: *schedule* is none; *args* leaves out an input or an output, or names something that is neither or
            one thing twice.
    """
    if not isinstance(schedule, Schedule):
        raise KernelError(
            f"{schedule!r} is no schedule, and only a schedule says in which order to compute",
            hint="s = te.create_schedule(C) makes one, and build(s, [A, B, C]) compiles it",
        )
    state = schedule.state
    known = {id(tensor): buffer for tensor, buffer in zip(schedule.inputs, state.params, strict=True)}
    outputs = {
        id(tensor): stage.buffers[tensor.index]
        for tensor in schedule.outputs
        for stage in state.stages.values()
        if stage.op is tensor.op
    }
    needs = _needs(state)
    if args is None:
        all_outputs = tuple(outputs[id(tensor)] for tensor in schedule.outputs)
        return Program(name, state.params, all_outputs, with_stores(state), state.imports, needs)
    params: list[Buffer] = []
    outs: list[Buffer] = []
    passed: list[tuple[int, SizeVar]] = []
    given = [scalar_tensor(arg) for arg in args]
    for position, tensor in enumerate(given):
        if not isinstance(tensor, Tensor | SizeVar):
            raise KernelError(
                f"{tensor!r} is no tensor; a kernel's arguments are the tensors, scalars and sizes that are passed"
            )
        if any(tensor is other for other in given[:position]):
            raise KernelError(f"{tensor.name} is named twice among the arguments")
        if outs and (isinstance(tensor, SizeVar) or isinstance(tensor.op, PlaceholderOp)):
            raise KernelError(
                f"input {tensor.name} comes after output {outs[0].name}", hint="name the inputs first, then outputs"
            )
        if isinstance(tensor, SizeVar):
            passed.append((position, tensor))
        elif id(tensor) in outputs:
            outs.append(outputs[id(tensor)])
        elif isinstance(tensor.op, PlaceholderOp):
            params.append(known.get(id(tensor)) or _unread(tensor))
        else:
            raise KernelError(
                f"{tensor.name} is computed inside the kernel, and the caller never sees it",
                hint=f"make it an output: te.create_schedule([..., {tensor.name}])",
            )
    missing = [b.name for b in state.params if b not in params] + [b.name for b in outputs.values() if b not in outs]
    if missing:
        raise KernelError(
            f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not among the arguments",
            hint="name every input that is read and every output",
        )
    return Program(name, tuple(params), tuple(outs), with_stores(state), state.imports, needs, tuple(passed))


def _unread(tensor: Tensor) -> Buffer:
    """The buffer of an input that is passed, and that nothing reads."""
    assert isinstance(tensor.op, PlaceholderOp)
    return Buffer(tensor.name, tensor.shape, tensor.dtype, by_value=tensor.op.by_value)


def _needs(state: State) -> tuple[Expr, ...]:
    """The dimensions of what is computed that are not certain to be at least 0, whatever the sizes are."""
    found = {}
    for stage in state.stages.values():
        sizes = [axis.extent for axis in (*stage.op.axis, *stage.op.reduce_axis)]
        sizes += [size for tensor in stage.op.outputs for size in tensor.shape]
        for size in sizes:
            if not isinstance(size, int) and bounds(size, {})[0] < 0:
                found[str(size)] = size
    return tuple(found.values())
