"""Expressions to LLVM: each node's value, scalar where it is the same for all lanes of a vectorized loop.

A side of a `Select`, ``and`` or ``or`` that loads what may not exist is only run where it counts: behind a branch where
the condition is scalar, under a mask where it is a vector. Where the bounds of its indices show that every element
exists, both sides are simply computed.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from typing import Any, TypeAlias

from flashsched.codegen import emit_arith, emit_foreign, emit_math
from flashsched.codegen.emit_affine import in_bounds
from flashsched.codegen.emit_code import Value, literal
from flashsched.codegen.emit_convert import constant, convert, rounded
from flashsched.codegen.emit_memory import Memory
from flashsched.codegen.emit_state import State
from flashsched.errors import LoweringError
from flashsched.schedule.ir import Load
from flashsched.te import dtypes
from flashsched.te.expr import Binary, Call, Cast, Compare, Const, Expr, Not, Select, SizeVar, Var
from flashsched.te.foreign import Foreign
from flashsched.te.linear import structural_key
from flashsched.te.simplify import bounds, prove
from flashsched.te.visit import walk

__all__ = ["Expressions"]

Key: TypeAlias = tuple[Any, ...]
"""What is equal for expressions that are alike."""

_MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


class Expressions:
    """Computes expressions at the point that *state* describes.

    Attributes:
        memory: loads and stores at that point.
    """

    def __init__(self, state: State) -> None:
        self.state = state
        self.code = state.code
        self.memory = Memory(state, self.value)
        self._makers: dict[type[Expr], Callable[..., Value]] = {
            Const: lambda node: constant(node.value, node.dtype),
            Var: self._var,
            SizeVar: self._var,
            Binary: self._binary,
            Compare: self._compare,
            Not: lambda node: emit_arith.negated(self.code, self.value(node.value)),
            Cast: lambda node: convert(self.code, self.value(node.value), node.value.dtype, node.dtype),
            Select: lambda node: self._choose(node.condition, node.a, node.b),
            Call: self._call,
            Foreign: lambda node: emit_foreign.call(self.state, node, [self.value(arg) for arg in node.args]),
            Load: self.memory.load,
        }

    def value(self, expr: Expr) -> Value:
        """The value of *expr*, in the register type of its dtype.

        Raises:
            LoweringError: it holds a node or a function that has no code.
        """
        maker = self._makers.get(type(expr))
        if maker is None:
            raise LoweringError(f"{type(expr).__name__} has no place in a lowered nest: {expr}")
        return maker(expr)

    def _var(self, node: Var) -> Value:
        if node in self.state.named:
            return self.state.named[node]
        return convert(self.code, self.state.variable(node), dtypes.INDEX, node.dtype)

    def _binary(self, node: Binary) -> Value:
        op, dtype = node.op, node.dtype
        if op in ("and", "or"):
            return self._lazy(op, node.a, node.b)
        a, b = self.value(node.a), self.value(node.b)
        divides = op in ("//", "%") and isinstance(node.b, Const) and dtypes.is_int(dtype)
        if divides and not dtypes.is_unsigned(dtype) and int(b.text) > 0:
            low, high = bounds(node.a, self.state.ranges)
            never_negative = low >= 0 and high <= dtypes.max_value(dtype)  # above, it may have wrapped around
            return emit_arith.divide_by_positive(self.code, op, a, int(b.text), never_negative)
        return emit_arith.binary(self.code, op, a, b, dtype)

    def _call(self, node: Call) -> Value:
        args = [self.value(arg) for arg in node.args]
        if dtypes.is_float(node.dtype):
            return rounded(self.code, emit_math.call(self.code, node.func, args), node.dtype)
        if node.func == "abs" and dtypes.is_int(node.dtype):
            return self.code.intrinsic("abs", args[0], flag="i1 false")
        raise LoweringError(f"{node.func}() of {node.dtype} has no code: {node}", hint="cast the argument to a float")

    # -- conditions

    def _compare(self, node: Compare) -> Value:
        lanes = self.state.lanes
        if node.a.dtype == dtypes.INDEX and lanes is not None and node.op in _MIRRORED:
            mask = self._lane_limit(node)
            if mask is not None:
                return mask
        return emit_arith.compare(self.code, node.op, self.value(node.a), self.value(node.b), node.a.dtype)

    def _lane_limit(self, node: Compare) -> Value | None:
        """An order that the lanes cross once, as ``lane < limit`` in 32 bits rather than in vectors of 64-bit sums."""
        lanes, places, code = self.state.lanes, self.memory.places, self.code
        if lanes is None or not (_is_affine(node.a) and _is_affine(node.b)):
            return None
        form = places.affine(node.a - node.b)
        if abs(form.lane) != 1:
            return None
        op = node.op
        if form.lane < 0:
            form.scaled(-1)
            op = _MIRRORED[op]
        # lane + rest OP 0, that is lane < limit (or its opposite) with limit = -rest, or 1 more where OP is <= or >
        form.lane = 0
        form.scaled(-1)
        form.constant += op in ("<=", ">")
        limit = places.scalar_sum(form) if form.terms else literal(0, "i64")
        if form.constant:
            plus = literal(form.constant, "i64")
            limit = code.op("add", limit, plus) if form.terms else plus
        if limit.is_literal:
            limit = literal(min(max(int(limit.text), 0), lanes.width), "i32")
        else:
            limit = code.intrinsic("smax", limit, literal(0, "i64"))
            limit = code.convert("trunc", code.intrinsic("smin", limit, literal(lanes.width, "i64")), "i32")
        return code.compare("icmp ult" if op in ("<", "<=") else "icmp uge", code.iota(lanes.width, "i32"), limit)

    def _lazy(self, op: str, a: Expr, b: Expr) -> Value:
        if self._always_readable(b):
            return emit_arith.binary(self.code, op, self.value(a), self.value(b), "bool")
        if op == "and":
            return self._choose(a, b, Const(False, "bool"))
        return self._choose(a, Const(True, "bool"), b)

    def _always_readable(self, expr: Expr, read: Set[Key] = frozenset()) -> bool:
        """Whether all that *expr* loads exists, which is certain of what is *read* before it."""
        for node in walk(expr):
            if isinstance(node, Foreign) and not node.pure:
                return False
            if isinstance(node, Load) and not in_bounds(node, self.state) and structural_key(node) not in read:
                return False
        return True

    def _choose(self, condition: Expr, a: Expr, b: Expr) -> Value:
        """*a* where *condition* holds, else *b*, reading nothing for the side that is not chosen."""
        certain = prove(condition, self.state.ranges)  # these lanes may know more than the whole loop did
        if certain is not None:
            return self.value(a if certain else b)
        read = _read_anyway(condition)
        readable = self._always_readable(a, read) and self._always_readable(b, read)
        if readable and isinstance(condition, Compare) and condition.a.dtype != dtypes.INDEX:
            return self._compared(condition, a, b)
        test = self.value(condition)
        if readable:
            return self.code.select(test, self.value(a), self.value(b))
        if test.lanes == 1:
            return self._branch(test, a, b)
        with self.state.masked(test):
            first = self.value(a)
        with self.state.masked(emit_arith.negated(self.code, test)):
            second = self.value(b)
        return self.code.select(test, first, second)

    def _compared(self, condition: Compare, a: Expr, b: Expr) -> Value:
        """*a* where *condition* holds, else *b*; what is compared and chosen is computed once.

        LLVM sees an instruction for the smaller of two in ``y < x ? y : x`` only if both y are one value.
        """
        left, right = self.value(condition.a), self.value(condition.b)
        known = {structural_key(condition.a): left, structural_key(condition.b): right}
        test = emit_arith.compare(self.code, condition.op, left, right, condition.a.dtype)
        first, second = (known.get(structural_key(side)) or self.value(side) for side in (a, b))
        return self.code.select(test, first, second)

    def _branch(self, test: Value, a: Expr, b: Expr) -> Value:
        code = self.code
        lanes = self.state.lanes.width if self.state.lanes and (self._varies(a) or self._varies(b)) else 1
        yes, no, after = code.fresh("yes"), code.fresh("no"), code.fresh("chosen")
        code.line(f"br i1 {test.text}, label %{yes}, label %{no}")
        arms = []
        for label, side in ((yes, a), (no, b)):
            with code.branch():
                code.enter(label)
                value = code.broadcast(self.value(side), lanes)
                arms.append((value, code.label))
                code.line(f"br label %{after}")
        code.enter(after)
        return code.phi(arms)

    def _varies(self, expr: Expr) -> bool:
        """Whether *expr* may differ between the lanes."""
        lanes = self.state.lanes
        for node in walk(expr):
            if lanes is not None and node is lanes.var:
                return True
            if isinstance(node, Load) and self.state.slot(node.buffer).copies > 1:
                return True
        return False


def _read_anyway(condition: Expr) -> Set[Key]:
    """The elements that a comparison loads, whatever comes of it."""
    nodes = [*walk(condition)] if isinstance(condition, Compare) else []
    lazy = any(isinstance(node, Select) or (isinstance(node, Binary) and node.op in ("and", "or")) for node in nodes)
    return frozenset() if lazy else frozenset(structural_key(node) for node in nodes if isinstance(node, Load))


def _is_affine(expr: Expr) -> bool:
    """Whether an index is a sum of multiples of variables."""
    for node in walk(expr):
        if isinstance(node, Binary):
            if node.op in ("+", "-"):
                continue
            if node.op == "*" and (isinstance(node.a, Const) or isinstance(node.b, Const)):
                continue
            return False
        if not isinstance(node, Const | Var):
            return False
    return True
