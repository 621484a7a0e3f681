"""`lower` and `build`: from a schedule to a program that prints, and to a module that runs."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from flashsched import te
from flashsched.codegen.build import build_program
from flashsched.codegen.lower import CPU_PASSES, PASSES, Pass, program_of, run_passes
from flashsched.codegen.target import Target as Cpu
from flashsched.codegen.target import target_named
from flashsched.compat.tvm.ir import lower_calls
from flashsched.compat.tvm.runtime.module import Function, Module, Order
from flashsched.compat.tvm.target import Target
from flashsched.compat.tvm.te.axes import IndexVar, shape_of
from flashsched.compat.tvm.te.schedule import Schedule
from flashsched.compat.tvm.te.var import ScalarVar
from flashsched.errors import DeviceError, KernelError
from flashsched.schedule import Schedule as OurSchedule
from flashsched.schedule.ir import Buffer, map_exprs
from flashsched.schedule.program import Program
from flashsched.te.expr import SizeVar
from flashsched.te.tensor import PlaceholderOp

__all__ = ["IRModule", "LoweredFunc", "build", "lower"]


class LoweredFunc:
    """A program of plain loops, and where its inputs and outputs are among the caller's arguments (*order*).

    ``str()`` is the loop nest after the passes; *scheduled* is the program before them.
    """

    def __init__(self, scheduled: Program, order: Order) -> None:
        self.scheduled = scheduled
        self.program = _lowered(scheduled, PASSES)
        self.order = order

    @property
    def name(self) -> str:
        """Its name."""
        return self.program.name

    @property
    def body(self) -> Any:
        """The loop nest (our statements)."""
        return self.program.body

    def __str__(self) -> str:
        return str(self.program)

    __repr__ = __str__


def _lowered(scheduled: Program, passes: Sequence[Pass]) -> Program:
    """*scheduled* after *passes*, and calls of operators of one's own after their rules."""
    program = run_passes(scheduled, passes)
    return program.with_body(map_exprs(program.body, lower_calls))


class IRModule:
    """Lowered functions by name; printing it shows their loop nests."""

    def __init__(self, functions: Mapping[str, LoweredFunc]) -> None:
        self.functions = dict(functions)

    def __getitem__(self, name: str) -> LoweredFunc:
        return self.functions[name]

    def get_global_vars(self) -> list[str]:
        """The functions' names."""
        return list(self.functions)

    def astext(self, *args: Any, **kwargs: Any) -> str:
        """The loop nests as text."""
        return str(self)

    script = astext

    def show(self, *args: Any, **kwargs: Any) -> None:
        """Print the loop nests."""
        print(self)

    def __str__(self) -> str:
        return "\n".join(map(str, self.functions.values()))

    __repr__ = __str__


def lower(
    inp: Any, args: Sequence[Any] | None = None, name: str = "main", binds: Any = None, simple_mode: bool = False
) -> IRModule:
    """The loop nest of a schedule after all lowering passes.

    Args:
        inp: a schedule (or what this function made, which is given back).
        args: the tensors that the caller passes, in any order. One that is neither input nor output is stored in the
            caller's memory, too. Outputs that are left out stand behind the others.
        name: the function's name.
        binds: buffers for tensors. An argument may be the buffer in place of its tensor; how memory lies is asked of
            the arrays of each call, so strides need not be declared.
        simple_mode: takes no effect: the text is the same.
    """
    if isinstance(inp, IRModule):
        return inp
    if args is not None:
        args = [*args, *(out for out in inp.ours.outputs if not any(_is_for(arg, out, binds) for arg in args))]
    return _module(inp, args, name, binds)


def _is_for(arg: Any, tensor: te.Tensor, binds: Any) -> bool:
    """Whether *arg* is *tensor*, or the buffer bound to it."""
    buffer = (binds or {}).get(tensor)
    return arg is tensor or (buffer is not None and arg is buffer)


def _module(inp: Schedule, args: Sequence[Any] | None, name: str, binds: Any) -> IRModule:
    if args is None:
        args = [*inp.ours.inputs, *inp.ours.outputs]
    tensors = {id(buffer): tensor for tensor, buffer in (binds or {}).items()}
    program, order = _program(inp.settled(), [tensors.get(id(arg), arg) for arg in args], name)
    return IRModule({name: LoweredFunc(program, order)})


def _program(schedule: OurSchedule, args: list[Any], name: str) -> tuple[Program, Order]:
    state = schedule.state
    inputs = {id(t): buffer for t, buffer in zip(schedule.inputs, state.params, strict=True)}
    stages = {id(stage.op): stage for stage in state.stages.values()}
    params: dict[int, Buffer] = {}
    outs: dict[int, Buffer] = {}
    sizes: dict[int, SizeVar] = {}
    for position, arg in enumerate(args):
        if isinstance(arg, IndexVar) and isinstance(arg.axis, SizeVar):
            sizes[position] = arg.axis
            continue
        tensor = arg.tensor if isinstance(arg, ScalarVar) else arg
        if not isinstance(tensor, te.Tensor):
            raise KernelError(f"argument {position} is {arg!r}, and an argument is a tensor or a te.var")
        if any(arg is other for other in args[:position]):
            raise KernelError(f"{tensor.name} is named twice among the arguments")
        stage = stages.get(id(tensor.op))
        if stage is not None and not stage.inlined:
            outs[position] = stage.buffers[tensor.index]
        elif stage is not None or isinstance(tensor.op, PlaceholderOp):
            params[position] = inputs.get(id(tensor)) or Buffer(tensor.name, shape_of(tensor.shape), tensor.dtype)
        else:
            raise KernelError(f"{tensor.name} is not computed by this schedule")
    outputs = [stage.buffers[t.index] for t in schedule.outputs for stage in (stages[id(t.op)],)]
    given = [*params.values(), *outs.values()]
    missing = [buffer.name for buffer in (*state.params, *outputs) if not any(buffer is known for known in given)]
    if missing:
        raise KernelError(
            f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not among the arguments",
            hint="name every input that is read and every output",
        )
    program = program_of(schedule, None, name)  # for what is not the buffers
    passed = tuple((len(params) + number, size) for number, size in enumerate(sizes.values()))
    program = replace(program, params=tuple(params.values()), outputs=tuple(outs.values()), passed=passed)
    return program, Order((*params, *sizes, *outs), len(args))


def build(
    inputs: Any,
    args: Sequence[Any] | None = None,
    target: Any = None,
    target_host: Any = None,
    name: str = "default_function",
    runtime: Any = None,
    binds: Any = None,
) -> Module:
    """Compile a schedule, or what `lower` made of some, for the CPU.

    Args:
        inputs: a schedule, an `IRModule`, or a list of them; a mapping gives each target its own.
        args: the tensors that the caller passes, with a schedule.
        target: ``"llvm"`` (by default, or what ``with Target(…)`` says), with ``-mcpu=…`` where a lesser CPU is meant.
        target_host: not needed.
        name: the function's name, with a schedule.
        runtime: not needed.
        binds: see `lower`.

    Raises:
        DeviceError: the target is no CPU.
    """
    if isinstance(inputs, Mapping):
        if len(inputs) != 1:
            raise DeviceError(f"a module is built for one target, not for {', '.join(map(str, inputs))}")
        ((target, inputs),) = inputs.items()
    chosen = Target(target) if target is not None else Target.current() or Target("llvm")
    if chosen.kind.name != "llvm":
        raise DeviceError(
            f"functions are compiled for 'llvm', not for {chosen.kind.name!r}",
            hint="tvm.runtime.enabled(name) tells what there is; fs.simulate(schedule, device='a100-sim') models a GPU",
        )
    functions: dict[str, LoweredFunc] = {}
    for item in inputs if isinstance(inputs, list | tuple) else [inputs]:
        lowered = _module(item, args, name, binds) if isinstance(item, Schedule) else item
        found = {lowered.name: lowered} if isinstance(lowered, LoweredFunc) else lowered.functions
        for twin in found.keys() & functions.keys():
            raise KernelError(f"two functions are named {twin!r}", hint="name them: tvm.lower(s, args, name=…)")
        functions |= found
    cpu = _cpu(chosen)
    made = {
        key: Function(key, build_program(_lowered(f.scheduled, CPU_PASSES), cpu), f.order)
        for key, f in functions.items()
    }
    return Module(made)


_ALIASES = {"core-avx2": "haswell", "core-avx-i": "ivybridge", "corei7-avx": "sandybridge", "native": ""}


def _cpu(target: Target) -> Cpu | None:
    """The CPU that ``-mcpu`` asks for; None for this machine's own, which is also taken where it lacks that CPU."""
    name = _ALIASES.get(target.mcpu, target.mcpu)
    if not name:
        return None
    try:
        return target_named(name)
    except DeviceError as error:
        warnings.warn(f"{target}: compiled for this machine instead: {error.reason}", stacklevel=3)
        return None
