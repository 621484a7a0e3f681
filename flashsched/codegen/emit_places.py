"""Where an element lies: from a buffer's indices to an address, parted into what lanes move and what they do not.

Apart from the accesses (`flashsched.codegen.emit_memory`) because an address is made once and used by many of them, in
whatever way they read or write there.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from math import gcd

from flashsched.codegen.emit_affine import Affine
from flashsched.codegen.emit_code import Value, literal
from flashsched.codegen.emit_convert import memory_type
from flashsched.codegen.emit_state import State
from flashsched.codegen.passes.hold_in_lanes import place_in_lane
from flashsched.schedule.ir import Buffer
from flashsched.te import dtypes
from flashsched.te.expr import Binary, Const, Expr, Var
from flashsched.te.simplify import linear
from flashsched.te.sizes import Shape, extent_expr

__all__ = ["Places"]


class Places:
    """The addresses of elements in one function.

    Args:
        state: the point that code is written at.
        evaluate: gives the value of an expression (an index is one, and may itself load).
    """

    def __init__(self, state: State, evaluate: Callable[[Expr], Value]) -> None:
        self._state = state
        self._evaluate = evaluate

    # -- indices

    def affine(self, expr: Expr) -> Affine:
        """An index split into what the lanes move and what they do not."""
        result = Affine()
        if not self._collect(expr, 1, result):
            form = linear(expr, self._state.ranges)  # splits and rejoins quotients and remainders
            result = Affine(constant=form.constant)
            for atom, factor in form.terms.values():
                if not isinstance(atom, Var) or not self._collect(atom, factor, result):
                    result.add(self._evaluate(atom), factor)
        result.terms = {text: factor for text, factor in result.terms.items() if factor}
        return result

    def _collect(self, expr: Expr, factor: int, into: Affine) -> bool:
        """Count *expr* in, if it is a sum of multiples of variables; False where it is not."""
        if isinstance(expr, Const):
            into.constant += int(expr.value) * factor
            return True
        if isinstance(expr, Var):
            lanes = self._state.lanes
            if lanes is not None and expr is lanes.var:
                into.lane += factor
                into.add(lanes.base, factor)
            else:
                into.add(self._evaluate(expr), factor)
            return True
        if not isinstance(expr, Binary):
            return False
        if expr.op in ("+", "-"):
            second = factor if expr.op == "+" else -factor
            return self._collect(expr.a, factor, into) and self._collect(expr.b, second, into)
        if expr.op == "*" and isinstance(expr.b, Const):
            return self._collect(expr.a, factor * int(expr.b.value), into)
        if expr.op == "*" and isinstance(expr.a, Const):
            return self._collect(expr.b, factor * int(expr.a.value), into)
        return False

    def scalar_sum(self, form: Affine) -> Value:
        """The part of *form* that is the same for all lanes and not constant."""
        code = self._state.code
        key = ("sum", *form.terms.items())
        found: Value | None = code.memo.get(key)
        if found is None:
            for text, factor in form.terms.items():
                part = self._product(Value(text, "i64"), factor)
                found = part if found is None else code.op("add nsw", found, part)
            found = literal(0, "i64") if found is None else found
            code.memo[key] = found
        return found

    def _product(self, value: Value, factor: int) -> Value:
        if factor == 1:
            return value
        code = self._state.code
        key = ("product", value.text, factor)
        found: Value | None = code.memo.get(key)
        if found is None:
            found = code.memo[key] = code.op("mul nsw", value, literal(factor, "i64"))
        return found

    def offset(self, buffer: Buffer, indices: tuple[Expr, ...]) -> Affine:
        """The element's place in memory, counted in elements."""
        if buffer.held:
            return self.affine(place_in_lane(buffer, indices, self._state.ranges))
        total = Affine()
        strides = buffer.element_strides
        numbers = tuple(stride for stride in strides if isinstance(stride, int))
        if len(numbers) < len(strides):
            total = self._sized_offset(indices, strides)
        elif not all(self._collect(index, stride, total) for index, stride in zip(indices, numbers, strict=True)):
            terms = [index * stride for index, stride in zip(indices, numbers, strict=True)]
            total = self.affine(functools.reduce(operator.add, terms))
        copies = self._state.slot(buffer).copies
        if copies > 1:
            total.scaled(copies)
            total.lane += 1
        total.terms = {text: factor for text, factor in total.terms.items() if factor}
        return total

    def _sized_offset(self, indices: tuple[Expr, ...], strides: Shape) -> Affine:
        """As `offset`, where some *strides* are expressions of sizes: what they multiply is computed apart."""
        total = Affine()
        for index, stride in zip(indices, strides, strict=True):
            part = self.affine(index)
            form = linear(extent_expr(stride), self._state.ranges)
            if form.is_constant():
                part.scaled(form.constant)
            else:
                part = self._multiplied(part, self._evaluate(form.expr()))
            total.plus(part)
        return total

    def _multiplied(self, form: Affine, by: Value) -> Affine:
        """*form* times a scalar; what moved by an element a lane then moves by as much as the scalar says."""
        code = self._state.code
        result = Affine()
        for text, factor in form.terms.items():
            key = ("product", text, by.text)
            product: Value | None = code.memo.get(key)
            if product is None:
                product = code.memo[key] = code.op("mul nsw", Value(text, "i64"), by)
            result.add(product, factor)
        result.add(by, form.constant)
        lanes = self._state.lanes
        vectors = [*form.vectors, (code.iota(lanes.width, "i64"), form.lane)] if lanes and form.lane else form.vectors
        result.vectors = [(code.op("mul", value, by), factor) for value, factor in vectors]
        return result

    # -- addresses

    def pointer(self, buffer: Buffer, form: Affine, shift: int = 0) -> tuple[Value, int]:
        """The address of the first lane, moved by *shift* elements, and its alignment in bytes."""
        code, slot = self._state.code, self._state.slot(buffer)
        kind, size = memory_type(buffer.dtype, code.module.target), dtypes.bits(buffer.dtype) // 8
        constant = form.constant + shift
        key = (slot.pointer, constant, *form.terms.items())
        found = code.memo.get(key)
        if found is not None:
            return found  # type: ignore[no-any-return]
        pointer = Value(slot.pointer, "ptr")
        if form.terms:
            base_key = (slot.pointer, None, *form.terms.items())
            base: Value | None = code.memo.get(base_key)
            if base is None:
                moved = self.scalar_sum(form)
                base = code.make(f"getelementptr {kind}, ptr {slot.pointer}, i64 {moved.text}", "ptr", 1, "at")
                code.memo[base_key] = base
            pointer = base
        if constant:
            pointer = code.make(f"getelementptr {kind}, ptr {pointer.text}, i64 {constant}", "ptr", 1, "at")
        alignment = gcd(slot.alignment, constant * size, *(factor * size for factor in form.terms.values()))
        code.memo[key] = pointer, alignment
        return pointer, alignment

    def pointers(self, buffer: Buffer, form: Affine, lanes: int) -> tuple[Value, int]:
        """An address for each lane, and the alignment of an element."""
        code, slot = self._state.code, self._state.slot(buffer)
        kind, size = memory_type(buffer.dtype, code.module.target), dtypes.bits(buffer.dtype) // 8
        places = code.iota(lanes, "i64")
        places = code.op("mul", places, literal(form.lane, "i64")) if form.lane not in (0, 1) else places
        total: Value | None = places if form.lane else None
        for value, factor in form.vectors:
            part = value if factor == 1 else code.op("mul", value, literal(factor, "i64"))
            total = part if total is None else code.op("add", total, part)
        if total is None:
            total = code.broadcast(literal(0, "i64"), lanes)
        base, _ = self.pointer(buffer, form)
        total = code.broadcast(total, lanes)
        many = code.make(f"getelementptr {kind}, ptr {base.text}, {total.type} {total.text}", "ptr", lanes, "at")
        return many, gcd(slot.alignment, size)
