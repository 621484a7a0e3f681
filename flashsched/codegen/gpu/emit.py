"""A kernel of a lowered nest as LLVM text for a GPU.

All that a statement computes is written by the emitter that CPUs have, too (`flashsched.codegen.emit`): here loops over
blocks and threads become indices, memory gets its place, and barriers their instruction. Pointers are generic; LLVM
finds out which memory they point into.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from flashsched.codegen.emit import RESERVED_NAMES, Statements
from flashsched.codegen.emit_code import Code, Import, Module, Value, clean_name, literal
from flashsched.codegen.emit_parallel import function_text
from flashsched.codegen.emit_state import Slot, State
from flashsched.codegen.emit_storage import buffer_notes
from flashsched.codegen.gpu.copies import Copies, moved, with_late_copies
from flashsched.codegen.gpu.dialect import Dialect
from flashsched.codegen.gpu.places import STATIC_SHARED, Place, Places, places_of
from flashsched.codegen.gpu.plan import Launch, Plan
from flashsched.codegen.gpu.target import GpuArch
from flashsched.codegen.link import linked
from flashsched.errors import LoweringError
from flashsched.schedule.barrier import Barrier, Begun, LateStore
from flashsched.schedule.ir import Alloc, Buffer, For, LoopKind, Prefetch, Stmt, Store, walk_stmt
from flashsched.schedule.llvm_texts import llvm_text
from flashsched.te import dtypes

__all__ = ["ARRAY_ALIGNMENT", "emit_gpu", "shared_bytes"]

ARRAY_ALIGNMENT = 16
"""Bytes that an array passed to a kernel must be aligned to; drivers give memory aligned to 256."""

_OWN_ALIGNMENT = 16
_LACKING = ("fmod",)


def shared_bytes(launch: Launch) -> tuple[int, int]:
    """Bytes of shared memory that a block of *launch* has, and those of them that it must be launched with."""
    total = places_of(launch.body, launch.threads).shared_bytes
    return total, total if total > STATIC_SHARED else 0


def emit_gpu(plan: Plan, arch: GpuArch) -> str:
    """The LLVM text of all kernels of *plan* for *arch*: ``void NAME(ptr, …, i64, …)``, its buffers, then its scalars.

    Raises:
        LoweringError: a kernel holds what has no code on a GPU, or more shared memory than a block has.
    """
    target, dialect = arch.target, Dialect(arch)
    module = Module(target)
    heads: list[str] = []
    for text in plan.program.imports:
        module.imports[f"import_llvm {text[:15]}"] = Import(llvm_text(text))
    for launch in plan.launches:
        try:
            heads += _kernel(launch, module, dialect)
        except RecursionError:
            raise LoweringError(f"kernel {launch.name!r} holds an expression that is nested too deeply") from None
    text = module.text(f"flashsched program {plan.program.name!r}".replace("\n", " "))
    text = "\n".join([*heads, text])
    for name in _LACKING:
        if f"@{name}(" in text or f"@{name}f(" in text:
            raise LoweringError(
                f"{name}() has no code on a GPU",
                hint="x - te.trunc(x / y) * y is nearly it",
            )
    return linked(text, module.imports, target, RESERVED_NAMES) if module.imports else text


def _kernel(launch: Launch, module: Module, dialect: Dialect) -> list[str]:
    """Add the function of *launch*; returns the lines that define its shared memory."""
    launch = with_late_copies(launch, dialect.arch)
    places = places_of(launch.body, launch.threads)
    dialect.require_fits(places.shared_bytes, launch.name)
    state = State(Code(module))
    stored = {node.buffer for node in walk_stmt(launch.body) if isinstance(node, Store)}
    waits = any(isinstance(node, Barrier) for node in walk_stmt(launch.body))
    params = []
    for number, buffer in enumerate(launch.buffers):
        name = f"%{clean_name(buffer.name).replace('.', '_')}_{number}"
        alignment = max(ARRAY_ALIGNMENT, buffer.alignment)
        notes = buffer_notes(buffer, alignment, written=buffer in stored)
        if waits and buffer in stored:  # other threads of the block write it between barriers
            notes = notes.replace("noalias ", "")
        params.append(f"{dialect.global_pointer()} {notes} {name}")
        state.slots[buffer] = Slot(dialect.generic(state.code, name, "array"), alignment)
    for scalar in launch.scalars:
        value = Value(f"%{clean_name(scalar.name).replace('.', '_')}_size{len(params)}", "i64")
        state.variables[scalar] = value
        params.append(f"i64 {value.text}")
    writer = _Kernel(state, launch, dialect, places)
    writer.write(launch.body)
    own = {node.buffer: places.of[id(node)] for node in walk_stmt(launch.body) if isinstance(node, Alloc)}
    kept = sum(place.size for place in own.values() if place.scope == "own")
    word, attributes = dialect.linkage(launch.block, kept)
    module.add(function_text(f"{word} void @{launch.name}({', '.join(params)})", attributes, state.code))
    return writer.memory


class _Kernel(Statements):
    """Writes the statements of a kernel."""

    def __init__(self, state: State, launch: Launch, dialect: Dialect, places: Places) -> None:
        super().__init__(state, launch.name, None)
        self.memory: list[str] = []
        self._launch, self._dialect, self._places = launch, dialect, places
        self._indices: dict[LoopKind, Value] = {}
        self._late = any(isinstance(node, LateStore) for node in walk_stmt(launch.body))
        if places.shared_bytes > STATIC_SHARED:
            self.memory.append(f"@{launch.name}_shared = external addrspace(3) global [0 x i8], align 16")

    def write(self, stmt: Stmt) -> None:
        """Write *stmt*."""
        match stmt:
            case Barrier():
                if self._late:
                    Copies.wait(self.code, stmt.under_way)
                self._dialect.barrier(self.code)
            case Begun():
                Copies.end_group(self.code)
            case LateStore():
                Copies.write(stmt, self.state, self.expressions)
            case Prefetch():
                pointer = self.expressions.memory.address(stmt.buffer, stmt.indices)
                self._dialect.prefetch(self.code, pointer.text)
            case Alloc():
                with self._placed(stmt.buffer, self._places.of[id(stmt)]):
                    self.write(stmt.body)
            case For() if stmt.kind.is_block or stmt.kind.is_thread:
                with self.state.bound(stmt.var, self._index(stmt.kind, stmt.turns), self._within(stmt)):
                    self.write(stmt.body)
            case For(kind=LoopKind.PARALLEL):
                self._serial(stmt)
            case For() if stmt.kind not in (LoopKind.VECTORIZE, LoopKind.TENSORIZE):
                if stmt.turns is None or stmt.turns > 0:
                    self._serial(stmt)
            case _:
                super().write(stmt)

    def _width(self, loop: For) -> int:
        """How many turns run at once; what is only moved needs no wider type on its way."""
        stores = [stmt for stmt in walk_stmt(loop.body) if isinstance(stmt, Store)]
        loads = [moved(stmt.value)[0] for stmt in stores]
        pairs = zip(loads, stores, strict=True)
        if stores and all(load is not None and load.dtype == stmt.buffer.dtype for load, stmt in pairs):
            return self.code.module.target.vector_bits // max(8, *(dtypes.bits(s.buffer.dtype) for s in stores))
        return super()._width(loop)

    def _index(self, kind: LoopKind, turns: int | None) -> Value:
        if kind.is_thread:
            turns = self._launch.threads.get(kind, 1)
        if turns == 1:
            return literal(0, "i64")
        if kind not in self._indices:
            self._indices[kind] = self._dialect.index(self.code, kind, turns)
        return self._indices[kind]

    @contextmanager
    def _placed(self, buffer: Buffer, place: Place) -> Iterator[None]:
        """A stretch for which *buffer* has its memory."""
        code, state = self.code, self.state
        copies = 1 if state.lanes is None else state.lanes.width
        hint = clean_name(buffer.name)
        if place.scope == "shared":
            if copies > 1:
                raise LoweringError(
                    f"{buffer.name} is shared memory, and is made in the lanes of a vector",
                    hint="compute it at a loop outside of the vectorized one",
                )
            slot = Slot(self._shared(place, hint, place.size), _OWN_ALIGNMENT)
        else:
            pointer = code.stack(place.size * copies, hint, _OWN_ALIGNMENT)
            slot = Slot(pointer, _OWN_ALIGNMENT, private=True, copies=copies)
        state.slots[buffer] = slot
        yield
        del state.slots[buffer]

    def _shared(self, place: Place, hint: str, size: int) -> str:
        """A pointer to this thread's copy of the memory at *place*."""
        turns = [self._launch.threads[loop.kind] for loop in place.copies]
        if self._places.shared_bytes > STATIC_SHARED:
            pointer = self._dialect.shared(self.code, f"{self._launch.name}_shared", place.offset)
        else:
            name = f"{self._launch.name}.{hint}.{place.offset}"
            room = size
            for count in turns:
                room *= count
            line = f"@{name} = internal addrspace(3) global [{max(room, 1)} x i8] {self._nothing()}, align 16"
            if line not in self.memory:
                self.memory.append(line)
            pointer = self._dialect.shared(self.code, name, 0)
        return self._copy(pointer, place.copies, turns, size)

    def _nothing(self) -> str:
        return "undef" if self._dialect.arch.is_nvidia else "poison"

    def _copy(self, pointer: str, loops: Sequence[For], turns: Sequence[int], size: int) -> str:
        step = size
        for loop, count in zip(loops, turns, strict=True):
            pointer = self._dialect.scaled(self.code, pointer, self._index(loop.kind, count), step)
            step *= count
        return pointer
