"""A lowered nest to the LLVM text of a module: statements, loops, allocations, and the functions they end up in.

The text does what the nest says and nothing more: vectorized loops become vector instructions here, parallel ones
functions that the runtime calls (`flashsched.codegen.threads`), all others plain loops that LLVM is told to leave
alone. `emit_expr` and the files below it write what a statement computes.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from flashsched.codegen.emit_code import BITS, Code, Import, Module, Value, clean_name, literal
from flashsched.codegen.emit_convert import register_type
from flashsched.codegen.emit_expr import Expressions
from flashsched.codegen.emit_intrinsic import call_intrinsic, write_call
from flashsched.codegen.emit_math import known_functions
from flashsched.codegen.emit_parallel import LACKING, call_in_parallel, function_text
from flashsched.codegen.emit_spare import has_spare_lanes
from flashsched.codegen.emit_state import Lanes, Slot, State
from flashsched.codegen.emit_storage import Storage, buffer_notes, heap_allocations, may_lack_memory
from flashsched.codegen.emit_streams import past_the_caches
from flashsched.codegen.externs import extern_calls, open_sizes, symbol
from flashsched.codegen.link import linked
from flashsched.codegen.target import Target
from flashsched.errors import LoweringError
from flashsched.schedule.calls import CallExtern
from flashsched.schedule.ir import (
    Alloc,
    Break,
    Extern,
    For,
    If,
    Let,
    LoopKind,
    Prefetch,
    Seq,
    Stmt,
    Store,
    walk_stmt,
)
from flashsched.schedule.llvm_texts import llvm_text
from flashsched.schedule.program import Program
from flashsched.te import dtypes
from flashsched.te.expr import SizeVar, Var
from flashsched.te.simplify import bounds, prove, within_loop

__all__ = ["RESERVED_NAMES", "Statements", "emit", "entry_name"]

_C_NAMES = {"malloc", "free", "aligned_alloc", "memcpy", "memset", "memmove", "fmod", "rint", "fma", "main"}
RESERVED_NAMES = _C_NAMES | {name + suffix for name in known_functions() for suffix in ("", "f")}
"""Functions of the C library that kernels call, and ``main``."""
_WHOLE_VECTORS = 4  # registers that a vectorized loop with loops in it may fill at once
_MOST_PIECES = 16  # pieces of a vectorized loop that are written out; more become a loop of their own


def entry_name(name: str) -> str:
    """The symbol of a program of that name: LLVM's characters only, and no function of the C library.

    >>> entry_name("matmul"), entry_name("my kernel"), entry_name("exp")
    ('matmul', 'my_kernel', 'exp.kernel')
    """
    cleaned = clean_name(name)
    return f"{cleaned}.kernel" if cleaned in RESERVED_NAMES or cleaned.startswith(("llvm.", "fs_")) else cleaned


def emit(program: Program, target: Target) -> str:
    """The LLVM text of *program*, a lowered nest, for *target*.

    It defines ``void NAME(ptr, ptr, …, i64, …)``, one pointer to the first element of each input, then of each output,
    then the program's scalars; `entry_name` says what NAME is. Where `may_lack_memory`, a last pointer is to an i64
    that is 0, and holds afterwards how many bytes could not be had, if the function had to give up. None of an output's
    memory may be shared with another argument.

    Raises:
        LoweringError: the nest holds something that has no code, e.g. a block, or a vectorized loop of unknown length.
    """
    buffers = (*program.params, *program.outputs)
    if len(set(buffers)) < len(buffers):
        names = ", ".join(buffer.name for buffer in buffers)
        raise LoweringError(f"program {program.name!r} takes a buffer twice: {names}")
    module, name = Module(target), entry_name(program.name)
    for text in program.imports:
        module.imports[f"import_llvm {text[:15]}"] = Import(llvm_text(text))
    stored = {stmt.buffer for stmt in walk_stmt(program.body) if isinstance(stmt, Store)}
    stored |= {buffer for call in extern_calls(program) for buffer in call.outputs}
    state = State(Code(module))
    params = []
    for number, buffer in enumerate(buffers):
        pointer = f"%{clean_name(buffer.name).replace('.', '_')}_{number}"
        alignment = buffer.alignment or dtypes.bits(buffer.dtype) // 8
        notes = buffer_notes(buffer, alignment, written=buffer in stored)
        state.slots[buffer] = Slot(pointer, alignment, notes=notes)
        params.append(f"ptr {notes} {pointer}")
    for scalar in program.scalars:
        value = Value(f"%{clean_name(scalar.name).replace('.', '_')}_size", "i64")
        state.variables[scalar] = value
        params.append(f"i64 {value.text}")
    may_lack = may_lack_memory(program.body)
    if may_lack:
        params.append("ptr %lacking")
    writer = Statements(state, name, "%lacking" if may_lack else None)
    try:
        writer.write(program.body)
    except RecursionError:
        raise LoweringError(f"program {program.name!r} holds an expression that is nested too deeply") from None
    module.add(function_text(f"void @{name}({', '.join(params)})", "nounwind", state.code))
    text = module.text(f"flashsched program {program.name!r}".replace("\n", " "))
    return linked(text, module.imports, target, RESERVED_NAMES) if module.imports else text


class Statements:
    """Writes the statements of one function.

    Args:
        state: where in the function code is written, and what is known there.
        name: the function's name.
        lacking: where it says how many bytes could not be had; None where it never asks for any.
    """

    def __init__(self, state: State, name: str, lacking: str | None) -> None:
        self.state, self.code, self.name = state, state.code, name
        self.expressions = Expressions(state)
        self.storage = Storage(state, self.expressions.value, self._give_up)
        self.lacking = lacking
        self._depth = 0  # of loops, in this function
        self._ends: list[str] = []  # where each of them goes on when it ends
        self._outlined = 0
        self._externs = 0

    def write(self, stmt: Stmt) -> None:
        """Write *stmt*."""
        match stmt:
            case Store():
                self.expressions.memory.store(stmt, self.expressions.value(stmt.value))
            case Seq():
                for inner in stmt.stmts:
                    self.write(inner)
            case Prefetch():
                self.expressions.memory.prefetch(stmt)
            case For():
                self._loop(stmt)
            case If():
                self._condition(stmt)
            case Let() if isinstance(stmt.var, SizeVar):  # a size known better, or a part of one
                value = self.expressions.value(stmt.value)
                within = bounds(stmt.value, self.state.ranges)
                with self.state.bound(stmt.var, value, within):
                    self.write(stmt.body)
            case Let():
                self.state.named[stmt.var] = self.expressions.value(stmt.value)
                self.write(stmt.body)
                del self.state.named[stmt.var]
            case Break():
                self._break()
            case CallExtern():
                write_call(stmt, self.state, self.expressions)
            case Alloc():
                with self.storage.allocated(stmt.buffer):
                    slot = self.state.slots[stmt.buffer]
                    self.state.slots[stmt.buffer] = slot._replace(spare=has_spare_lanes(stmt))
                    self.write(stmt.body)
            case Extern():
                self._extern(stmt)
            case _:
                raise LoweringError(
                    f"{type(stmt).__name__} has no code: a nest must be lowered before it is compiled",
                    hint="run it through the passes of flashsched.codegen.lower",
                )

    def _extern(self, stmt: Extern) -> None:
        """A call of a Python function, which says whether it raised; the kernel then ends, its memory given back."""
        code, buffers = self.code, (*stmt.inputs, *stmt.outputs)
        if self._depth or self.state.outer is not None or self.state.lanes is not None:
            raise LoweringError(f"extern stage {stmt.name!r} stands inside a loop, and is called once")
        sizes = [self.expressions.value(size) for size in open_sizes(stmt)]
        name, arguments = symbol(self._externs), code.stack(8 * (len(buffers) + len(sizes)), "arguments")
        self._externs += 1
        code.comment(f"extern {stmt.name}")
        for number, buffer in enumerate(buffers):
            place = code.make(f"getelementptr i8, ptr {arguments}, i64 {8 * number}", "ptr")
            code.line(f"store ptr {self.state.slot(buffer).pointer}, ptr {place.text}, align 8")
        for number, value in enumerate(sizes, len(buffers)):
            place = code.make(f"getelementptr i8, ptr {arguments}, i64 {8 * number}", "ptr")
            code.line(f"store i64 {value.text}, ptr {place.text}, align 8")
        code.module.declare(name, "i32", ["ptr"], "nounwind")
        status = code.make(f"call i32 @{name}(ptr {arguments})", "i32")
        raised = code.compare("icmp ne", status, literal(0, "i32"))
        failed, after = code.fresh("raised"), code.fresh("returned")
        code.line(f"br i1 {raised.text}, label %{failed}, label %{after}")
        code.enter(failed)
        self.storage.free_all()
        code.line("ret void")
        code.enter(after)

    def _break(self) -> None:
        if self.state.lanes is not None or not self._ends:
            raise LoweringError(
                "a loop that ends early stands in the lanes of a vector" if self._ends else "a break stands in no loop",
                hint="let the loop around it be serial",
            )
        self.code.line(f"br label %{self._ends[-1]}")
        self.code.enter(self.code.fresh("ended"))  # what may still be written here is never reached

    def _give_up(self, room: Value) -> None:
        assert self.lacking is not None
        self.code.line(f"store atomic i64 {room.text}, ptr {self.lacking} monotonic, align 8")
        self.code.line("ret void")

    # -- conditions

    def _condition(self, stmt: If) -> None:
        certain = prove(stmt.condition, self.state.ranges) if self.state.lanes else None
        if certain is not None:
            chosen = stmt.then if certain else stmt.otherwise
            if chosen is not None:
                self.write(chosen)
            return
        test = self.expressions.value(stmt.condition)
        if test.lanes > 1:
            with self.state.masked(test):
                self.write(stmt.then)
            if stmt.otherwise is not None:
                with self.state.masked(self.code.op("xor", test, literal(True, "i1"))):
                    self.write(stmt.otherwise)
            return
        code = self.code
        then, otherwise, after = code.fresh("then"), code.fresh("else"), code.fresh("end")
        code.line(f"br i1 {test.text}, label %{then}, label %{otherwise if stmt.otherwise else after}")
        for label, branch in ((then, stmt.then), (otherwise, stmt.otherwise)):
            if branch is not None:
                with code.branch():
                    code.enter(label)
                    self.write(branch)
                    code.line(f"br label %{after}")
        code.enter(after)

    # -- loops

    def _loop(self, loop: For) -> None:
        if loop.turns is not None and loop.turns <= 0:
            return
        if loop.notes.get("nontemporal") and not self.state.streaming:
            with past_the_caches(self.state):
                return self._loop(loop)
        if loop.kind is LoopKind.TENSORIZE:
            call_intrinsic(loop, self.state, self.expressions, self.write)
        elif loop.kind is LoopKind.VECTORIZE and self.state.lanes is None:
            self._vectorized(loop)
        elif loop.kind is LoopKind.PARALLEL and self.state.outer is None and self.state.lanes is None:
            self._parallel(loop)
        elif self._depth == 0:  # memory on the heap is asked for once, not in each turn
            with self.storage.hoisted(heap_allocations(loop.body)):
                self._serial(loop)
        else:
            self._serial(loop)

    def _serial(self, loop: For) -> None:
        if loop.turns == 1:
            with self.state.bound(loop.var, literal(0, "i64"), (0, 0)):
                self.write(loop.body)
            return
        extent = self._extent(loop)
        self.code.comment(f"for {loop.var.name} in range({loop.extent})")
        zero, within = literal(0, "i64"), self._within(loop)
        unroll = loop.notes.get("unroll_explicit") is False
        self._counted(loop.var, zero, extent, loop.turns is None, within, lambda: self.write(loop.body), unroll)

    def _within(self, loop: For) -> tuple[float, float]:
        """The range of the loop's variable."""
        high = bounds(loop.extent, self.state.ranges)[1] - 1
        return (0, high) if high < inf else within_loop(self.state.ranges, loop.var, loop.extent)[loop.var]

    def _extent(self, loop: For) -> Value:
        extent = self.expressions.value(loop.extent)
        if extent.lanes > 1:
            raise LoweringError(
                f"loop {loop.var.name!r} has another extent in each vector lane: {loop.extent}",
                hint="vectorize a loop that its extent does not depend on",
            )
        return extent

    def _counted(
        self,
        var: Var,
        start: Value,
        stop: Value,
        may_be_empty: bool,
        within: tuple[float, float],
        body: Callable[[], None],
        unroll: bool = False,
    ) -> None:
        """A loop of *var* from *start* to below *stop*, its values *within* these bounds; LLVM may *unroll* it."""
        code, hint = self.code, clean_name(var.name)
        head, latch, after = code.fresh(hint), code.fresh(f"{hint}.next"), code.fresh(f"{hint}.end")
        if may_be_empty:
            some = code.compare("icmp slt", start, stop)
            before = code.label
            code.line(f"br i1 {some.text}, label %{head}, label %{after}")
        else:
            before = code.label
            code.line(f"br label %{head}")
        with code.branch():
            code.enter(head)
            following = f"%{code.fresh(hint)}"
            at = code.make(f"phi i64 [ {start.text}, %{before} ], [ {following}, %{latch} ]", "i64", 1, hint)
            self._depth += 1
            self._ends.append(after)
            with self.state.bound(var, at, within):
                body()
            self._ends.pop()
            self._depth -= 1
            code.start(latch)
            code.line(f"{following} = add nuw nsw i64 {at.text}, 1")
            again = code.compare("icmp slt", Value(following, "i64"), stop)
            note = code.module.loop_note(unroll)
            code.line(f"br i1 {again.text}, label %{head}, label %{after}, !llvm.loop {note}")
        code.enter(after)

    # -- vectorized loops

    def _vectorized(self, loop: For) -> None:
        turns = loop.turns
        if turns is None:
            raise LoweringError(
                f"loop {loop.var.name!r} is vectorized, and its extent {loop.extent} is not a constant",
                hint="split it by a constant and vectorize the inner loop",
            )
        width = self._width(loop)
        whole, left = divmod(turns, width)
        self.code.comment(f"for {loop.var.name} in range({turns}), {min(width, turns)} at once")
        if whole > _MOST_PIECES:
            piece = Var(f"{loop.var.name}.piece")

            def body() -> None:
                base = self.code.op("mul nuw nsw", self.state.variable(piece), literal(width, "i64"))
                self._lanes(loop, base, width, (0, whole * width - 1))

            self._counted(piece, literal(0, "i64"), literal(whole, "i64"), False, (0, whole - 1), body)
        else:
            for first in range(0, whole * width, width):
                self._lanes(loop, literal(first, "i64"), width, (first, first + width - 1))
        if left:
            self._lanes(loop, literal(turns - left, "i64"), left, (turns - left, turns - 1))

    def _lanes(self, loop: For, base: Value, count: int, within: tuple[float, float]) -> None:
        lanes, state = Lanes(loop.var, count, base), self.state
        with state.in_lanes(lanes, *within) if count > 1 else state.bound(loop.var, base, within):
            self.write(loop.body)

    def _width(self, loop: For) -> int:
        """How many turns run at once: a register full of the widest type, or a few where a loop inside gains by it."""
        kinds = {register_type(stmt.buffer.dtype) for stmt in walk_stmt(loop.body) if isinstance(stmt, Store)}
        widest = max(8, *(BITS[kind] for kind in kinds)) if kinds else 32
        width = self.code.module.target.vector_bits // widest
        has_loops = any(isinstance(stmt, For) and stmt.turns != 1 for stmt in walk_stmt(loop.body))
        return width * _WHOLE_VECTORS if has_loops else width

    # -- parallel loops

    def _parallel(self, loop: For) -> None:
        """The loop's body as a function of its own, which the runtime calls with ranges of turns."""
        extent = self._extent(loop)
        name = f"{self.name}.par{self._outlined}"
        self._outlined += 1
        inner = State(Code(self.code.module), outer=self.state, ranges=dict(self.state.ranges))
        lacking = LACKING if may_lack_memory(loop.body) else None
        writer = Statements(inner, name, lacking)
        begin, end = Value("%begin", "i64"), Value("%end", "i64")
        inner.code.comment(f"for {loop.var.name} in range({loop.extent}), the turns from begin to end")
        with writer.storage.hoisted(heap_allocations(loop.body)), past_the_caches(inner, self.state.streaming):
            writer._counted(loop.var, begin, end, True, self._within(loop), lambda: writer.write(loop.body))
        self.code.comment(f"for {loop.var.name} in range({loop.extent}), in parallel")
        call_in_parallel(name, self.state, inner, extent, self.lacking if lacking else None)
        if lacking is not None:
            self._stop_if_lacking()

    def _stop_if_lacking(self) -> None:
        """End this function too, where a part of it that ran in parallel gave up."""
        code = self.code
        room = code.make(f"load atomic i64, ptr {self.lacking} monotonic, align 8", "i64")
        gave_up, done = code.fresh("gave_up"), code.fresh("done")
        some = code.compare("icmp ne", room, literal(0, "i64"))
        code.line(f"br i1 {some.text}, label %{gave_up}, label %{done}")
        with code.branch():
            code.enter(gave_up)
            self.storage.give_up(room)
        code.enter(done)
