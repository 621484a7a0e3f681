"""``tvm.ir``: operators of one's own, and the rules that lower them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flashsched.errors import ExpressionError, LoweringError, did_you_mean
from flashsched.te.expr import Call, Expr, as_expr, cast
from flashsched.te.visit import rewrite

__all__ = ["CallSeen", "Op", "lower_calls", "register_intrin_lowering", "register_op_attr", "require_op"]

Rule = Callable[[Any], Any]

_ops: set[str] = set()
_rules: dict[tuple[str, str], tuple[int, Rule]] = {}


class Op:
    """An operator, by its name."""

    def __init__(self, name: str) -> None:
        self.name = name

    @staticmethod
    def get(op_name: str) -> Op:
        """The operator called *op_name*."""
        return Op(op_name)


class CallSeen:
    """A call as a rule sees it: ``op.dtype``, ``op.args``, ``op.op.name``."""

    def __init__(self, name: str, call: Call) -> None:
        self.dtype, self.args, self.op, self.name = call.dtype, list(call.args), Op(name), name.removeprefix("tir.")
        self.node = call


def require_op(name: str) -> None:
    """Refuse a call of an operator that nobody has declared.

    Raises:
        ExpressionError: that is so.
    """
    if name not in _ops:
        raise ExpressionError(
            f"no operator {name!r}; {did_you_mean(name, _ops)}",
            hint=f'declare it: tvm.ir.register_op_attr("{name}", "TCallEffectKind", tvm.tir.CallEffectKind.Pure)',
        )


def register_op_attr(op_name: str, attr_key: str, value: Any = None, level: int = 10) -> Any:
    """Declare an operator, or with the key ``"llvm.FLowerIntrinsic"`` the rule that lowers it; also a decorator."""

    def register(given: Any) -> Any:
        _ops.add(op_name)
        target, _, key = attr_key.partition(".")
        if key == "FLowerIntrinsic":
            _add_rule(op_name, target, given, level)
        return given

    return register(value) if value is not None else register


def register_intrin_lowering(op_name: str, target: str, *, f: Any = None, level: int = 10) -> Any:
    """Lower *op_name* for *target* by ``f(call)``, which gives an expression or None; also a decorator."""

    def register(given: Any) -> Any:
        _ops.add(op_name)
        _add_rule(op_name, target, given, level)
        return given

    return register(f) if f is not None else register


def _add_rule(name: str, target: str, rule: Rule, level: int) -> None:
    known = _rules.get((name, target))
    if known is not None and known[0] > level:
        return  # TVM: the rule of the higher level stays
    _rules[name, target] = (level, rule)


def lower_calls(expr: Expr) -> Expr:
    """*expr* with every call that has a rule for ``llvm`` (or ``default``) replaced by what the rule gives.

    Raises:
        LoweringError: a call of an operator of one's own has none.
    """
    return _lowered(expr, frozenset())


def _lowered(expr: Expr, done: frozenset[str]) -> Expr:
    def change(node: Expr) -> Expr | None:
        if not isinstance(node, Call):
            return None
        name = node.func if node.func.startswith("tir.") or node.func in _ops else f"tir.{node.func}"
        found = _rules.get((name, "llvm")) or _rules.get((name, "default"))
        if name in done or found is None:
            if node.func in _ops:
                raise LoweringError(
                    f"no rule lowers {name} for llvm",
                    hint=f'register one: tvm.ir.register_intrin_lowering("{name}", target="llvm", f=rule)',
                )
            return None
        made = found[1](CallSeen(name, node))
        if made is None:
            return None
        return _lowered(cast(as_expr(getattr(made, "node", made)), node.dtype), done | {name})

    return rewrite(expr, change)
