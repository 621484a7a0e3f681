"""Loads and stores: from how an address (`flashsched.codegen.emit_places`) moves with the lanes to an access.

In a vectorized loop an address that stays is one scalar access, one that moves by an element a lane is one vector
access, and only what is left is a gather or a scatter. An access under a mask touches no element of an inactive lane.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from flashsched.codegen.emit_affine import Affine, in_bounds
from flashsched.codegen.emit_code import Value, clean_name, literal, vector_type
from flashsched.codegen.emit_convert import from_memory, memory_type, to_memory
from flashsched.codegen.emit_places import Places
from flashsched.codegen.emit_shuffle import of_lane
from flashsched.codegen.emit_state import Lanes, State
from flashsched.codegen.emit_streams import stream
from flashsched.codegen.emit_turned import turned
from flashsched.codegen.passes.hold_in_lanes import asked_lane
from flashsched.schedule.ir import Buffer, Load, Prefetch, Store
from flashsched.te import dtypes
from flashsched.te.expr import Const, Expr

__all__ = ["Memory"]

_MOST_TURNED = 16  # vectors that are turned at once: as many as hold a tile of float32
_BY_OTHERS = 1 << 62  # so many writes are counted where something else has the address


class Memory:
    """Reads and writes the buffers of one function.

    Args:
        state: the point that code is written at.
        evaluate: gives the value of an expression (an index is one, and may itself load).
    """

    def __init__(self, state: State, evaluate: Callable[[Expr], Value]) -> None:
        self._state = state
        self._evaluate = evaluate
        self.places = Places(state, evaluate)
        self._writes: Counter[str] = Counter()  # stores so far, by the pointer that they went through

    def _is_vector(self, form: Affine) -> bool:
        return bool(form.lane or form.vectors)

    def address(self, buffer: Buffer, indices: tuple[Expr, ...]) -> Value:
        """A pointer to the element at *indices*, which are the same for all lanes, for others to read and write."""
        self._writes[self._state.slot(buffer).pointer] = _BY_OTHERS
        return self.places.pointer(buffer, self.places.offset(buffer, indices))[0]

    def together(self, buffer: Buffer, indices: tuple[Expr, ...], lanes: int) -> tuple[Value, int] | None:
        """A pointer to the first of *lanes* elements side by side, and its alignment; None where they lie apart."""
        form = self.places.offset(buffer, indices)
        if form.vectors or form.lane != (1 if lanes > 1 else 0):
            return None
        return self.places.pointer(buffer, form)

    # -- loads

    def load(self, node: Load) -> Value:
        """The element at *node*'s indices, a vector where they differ between lanes."""
        state, code = self._state, self._state.code
        buffer = node.buffer
        lane = asked_lane(node)
        if lane is not None:
            own = Load(buffer, (Const(0, dtypes.INDEX), *node.indices[1:]))
            return of_lane(code, self.load(own), self._evaluate(lane))
        form = self.places.offset(buffer, node.indices)
        mask = state.mask
        if mask is not None and in_bounds(node, state):
            mask = None
        if not self._is_vector(form):
            value = self._scalar_load(buffer, form, mask)
        else:
            lanes = self._lanes()
            if form.lane == 1 and not form.vectors:
                value = self._vector_load(buffer, form, mask)
            elif form.lane in (-1, 2) and not form.vectors and (mask is not None or buffer.strides is None):
                value = self._strided_load(buffer, form, lanes.width, mask)
            elif mask is None and self._turns(buffer, form, lanes.width):
                value = self._turned_load(buffer, form, lanes.width)
            else:
                value = self._gather(buffer, form, mask)
        return from_memory(code, value, buffer.dtype)

    def _lanes(self) -> Lanes:
        lanes = self._state.lanes
        assert lanes is not None
        return lanes

    def _plain(self, buffer: Buffer, form: Affine, lanes: int, shift: int = 0) -> Value:
        code = self._state.code
        kind = memory_type(buffer.dtype, code.module.target)
        pointer, alignment = self.places.pointer(buffer, form, shift)
        of = vector_type(kind, lanes)
        return code.make(f"load {of}, ptr {pointer.text}, align {alignment}", kind, lanes, clean_name(buffer.name))

    def _scalar_load(self, buffer: Buffer, form: Affine, mask: Value | None) -> Value:
        if mask is None:
            return self._plain(buffer, form, 1)
        code = self._state.code  # read for all lanes at once, but only if there is one that asks
        before, inside, after = code.label, code.fresh("any"), code.fresh("none")
        code.line(f"br i1 {code.any_lane(mask).text}, label %{inside}, label %{after}")
        with code.branch():
            code.enter(inside)
            value = self._plain(buffer, form, 1)
            code.start(after)
        zero = literal(0, value.kind) if value.kind[0] == "i" else Value("zeroinitializer", value.kind)
        return code.phi([(zero, before), (value, inside)])

    def _vector_load(self, buffer: Buffer, form: Affine, mask: Value | None, shift: int = 0) -> Value:
        lanes = self._lanes().width
        if mask is None:
            return self._plain(buffer, form, lanes, shift)
        pointer, alignment = self.places.pointer(buffer, form, shift)
        code = self._state.code
        kind = memory_type(buffer.dtype, code.module.target)
        of, name = vector_type(kind, lanes), _masked("load", kind, lanes)
        code.module.declare(name, of, ["ptr", mask.type, of])
        args = f"ptr align {alignment} {pointer.text}, {mask.type} {mask.text}, {of} zeroinitializer"
        return code.make(f"call {of} @{name}({args})", kind, lanes, clean_name(buffer.name))

    def _strided_load(self, buffer: Buffer, form: Affine, lanes: int, mask: Value | None) -> Value:
        """Every second element, or all of them backwards: whole vectors and a shuffle, never past the last one.

        Under a mask the vectors read the elements of active lanes alone.
        """
        code = self._state.code
        active = None if mask is None else code.broadcast(mask, lanes)
        if form.lane == -1:
            backwards = range(lanes - 1, -1, -1)
            if active is not None:
                active = code.shuffle(active, active, backwards)
            first = self._vector_load(buffer, form, active, shift=1 - lanes)
            return code.shuffle(first, first, backwards)
        early = late = None
        if active is not None:  # element n of the first vector is lane n / 2's, if n is even; so of the last one
            none = code.broadcast(literal(False, "i1"), lanes)
            early, late = (
                code.shuffle(active, none, [n // 2 if n % 2 == 0 else lanes for n in range(start, start + lanes)])
                for start in (0, lanes - 1)
            )
        first = self._vector_load(buffer, form, early)
        last = self._vector_load(buffer, form, late, shift=lanes - 1)
        return code.shuffle(first, last, [2 * n if 2 * n < lanes else 2 * n + 1 for n in range(lanes)])

    def _turns(self, buffer: Buffer, form: Affine, lanes: int) -> bool:
        """Whether each lane's element is in another vector, at one place in it, of memory that is read as one likes."""
        slot, width = self._state.slot(buffer), self._register(buffer)
        if not slot.private or slot.copies > 1 or form.vectors or not 1 < lanes <= width <= _MOST_TURNED:
            return False
        return all(factor % width == 0 for factor in (form.lane, *form.terms.values())) and form.lane > 0

    def _register(self, buffer: Buffer) -> int:
        """Elements of *buffer* in a vector register."""
        return self._state.code.module.target.vector_bits // dtypes.bits(buffer.dtype)

    def _is_odd(self, buffer: Buffer, lanes: int) -> bool:
        """Whether so many lanes are written best by part of a register; memory of our own may be registers itself."""
        bits = dtypes.bits(buffer.dtype)
        odd = lanes & (lanes - 1) != 0 and lanes < self._register(buffer)
        wide = self._state.code.module.target.vector_bits >= 256
        return odd and wide and bits >= 32 and not self._state.slot(buffer).private

    def _turned_load(self, buffer: Buffer, form: Affine, lanes: int) -> Value:
        """One column of as many vectors as there are lanes, all of whose columns are made at once and kept.

        Memory of our own ends where a vector ends, so no vector reaches beyond it.
        """
        code, width, pointer = self._state.code, self._register(buffer), self._state.slot(buffer).pointer
        first, column = form.constant - form.constant % width, form.constant % width
        made = (
            code.label,
            code.calls,
            self._writes[pointer],
        )  # kept until the block ends, or somebody may have written
        key = ("turned", pointer, first, form.lane, lanes, *form.terms.items())
        found = code.memo.get(key)
        if found is None or found[0] != made or self._writes[pointer] >= _BY_OTHERS:
            shifts = [first - form.constant + lane * form.lane for lane in range(lanes)]
            rows = [self._plain(buffer, form, width, shift) for shift in shifts]
            rows += rows[-1:] * (width - lanes)
            found = code.memo[key] = made, turned(code, rows)
        whole: Value = found[1][column]
        return whole if lanes == width else code.shuffle(whole, whole, range(lanes))

    def _gather(self, buffer: Buffer, form: Affine, mask: Value | None) -> Value:
        code, lanes = self._state.code, self._lanes().width
        pointers, alignment = self.places.pointers(buffer, form, lanes)
        kind = memory_type(buffer.dtype, code.module.target)
        active = code.broadcast(literal(True, "i1") if mask is None else mask, lanes)
        of, name = vector_type(kind, lanes), _masked("gather", kind, lanes, pointers=True)
        code.module.declare(name, of, [pointers.type, active.type, of])
        args = f"{pointers.type} align {alignment} {pointers.text}, {active.type} {active.text}"
        return code.make(f"call {of} @{name}({args}, {of} zeroinitializer)", kind, lanes, clean_name(buffer.name))

    # -- stores

    def store(self, node: Store, value: Value) -> None:
        """Write *value* (of the buffer's dtype) for each active lane."""
        state, code = self._state, self._state.code
        buffer = node.buffer
        self._writes[state.slot(buffer).pointer] += 1
        form = self.places.offset(buffer, node.indices)
        mask = state.mask
        if not self._is_vector(form) and mask is None:
            last = value if value.lanes == 1 else code.extract(value, value.lanes - 1)  # the last turn's stays
            self._put(buffer, form, to_memory(code, last, buffer.dtype))
            return
        lanes = self._lanes().width
        stored = code.broadcast(to_memory(code, value, buffer.dtype), lanes)
        if form.lane != 1 or form.vectors:
            if form.lane == -1 and not form.vectors and mask is None:
                backwards = code.shuffle(stored, stored, range(lanes - 1, -1, -1))
                self._put(buffer, form, backwards, shift=1 - lanes)
            else:
                self._scatter(buffer, form, stored, mask)
        elif mask is None or (state.slot(buffer).private and state.slot(buffer).spare and in_bounds(node, state)):
            self._put(buffer, form, stored)
        elif state.slot(buffer).private and in_bounds(node, state):
            # nobody else sees it, so inactive lanes may be written back; a plain access can become a register
            state.kept.add(buffer)
            old = self._plain(buffer, form, lanes)
            self._put(buffer, form, code.select(mask, stored, old))
        else:
            pointer, alignment = self.places.pointer(buffer, form)
            name = _masked("store", stored.kind, lanes)
            code.module.declare(name, "void", [stored.type, "ptr", mask.type])
            args = f"{stored.type} {stored.text}, ptr align {alignment} {pointer.text}, {mask.type} {mask.text}"
            code.line(f"call void @{name}({args})")

    def prefetch(self, node: Prefetch) -> None:
        """Ask for the cache line of an element, to be read soon (in a vectorized loop: that of the first lane)."""
        code = self._state.code
        pointer, _ = self.places.pointer(node.buffer, self.places.offset(node.buffer, node.indices))
        code.module.declare("llvm.prefetch.p0", "void", ["ptr", "i32", "i32", "i32"])
        code.line(f"call void @llvm.prefetch.p0(ptr {pointer.text}, i32 0, i32 3, i32 1)")  # read, keep, data

    def _put(self, buffer: Buffer, form: Affine, value: Value, shift: int = 0) -> None:
        pointer, alignment = self.places.pointer(buffer, form, shift)
        if self._is_odd(
            buffer, value.lanes
        ):  # one store under a constant mask, where there would be one a power of two
            code, width = self._state.code, self._register(buffer)
            name, of = _masked("store", value.kind, width), vector_type(value.kind, width)
            mask = ", ".join(f"i1 {str(lane < value.lanes).lower()}" for lane in range(width))
            whole = code.shuffle(value, value, [min(lane, value.lanes - 1) for lane in range(width)])
            code.module.declare(name, "void", [of, "ptr", f"<{width} x i1>"])
            args = f"{of} {whole.text}, ptr align {alignment} {pointer.text}, <{width} x i1> <{mask}>"
            code.line(f"call void @{name}({args})")
            return
        if self._state.streaming and value.lanes > 1 and not self._state.slot(buffer).private:
            stream(self._state.code, value, pointer, alignment)
            return
        self._state.code.line(f"store {value.type} {value.text}, ptr {pointer.text}, align {alignment}")

    def _scatter(self, buffer: Buffer, form: Affine, value: Value, mask: Value | None) -> None:
        """Lanes are written in order, so where several meet the last one's value stays."""
        code, lanes = self._state.code, self._lanes().width
        pointers, alignment = self.places.pointers(buffer, form, lanes)
        active = code.broadcast(literal(True, "i1") if mask is None else mask, lanes)
        name = _masked("scatter", value.kind, lanes, pointers=True)
        code.module.declare(name, "void", [value.type, pointers.type, active.type])
        args = f"{value.type} {value.text}, {pointers.type} align {alignment} {pointers.text}"
        code.line(f"call void @{name}({args}, {active.type} {active.text})")


def _masked(what: str, kind: str, lanes: int, pointers: bool = False) -> str:
    short = {"double": "f64", "float": "f32", "half": "f16"}.get(kind, kind)
    return f"llvm.masked.{what}.v{lanes}{short}.{f'v{lanes}p0' if pointers else 'p0'}"
