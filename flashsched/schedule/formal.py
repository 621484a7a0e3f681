"""An intrinsic's code as a statement: C functions called on the addresses of formal buffers.

Apart from `flashsched.schedule.intrinsic`, which takes LLVM text as well: a `Formal` stands in such a statement for
whatever part of a buffer is matched with one of the intrinsic's tensors, and its strides are variables that the match
gives values. The functions come from LLVM text that the schedule imports, or from this process.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from flashsched.errors import ArgumentError, DtypeError, counted
from flashsched.schedule.calls import AccessPtr, CallExtern
from flashsched.schedule.ir import Buffer, For, If, Let, Load, Seq, Stmt, Store, own_exprs, walk_stmt
from flashsched.te import dtypes
from flashsched.te.expr import Const, Expr, ExprLike, Var, as_expr, cast
from flashsched.te.foreign import CALLABLE
from flashsched.te.tensor import Tensor
from flashsched.te.visit import walk

__all__ = ["Formal", "call_statement", "formal", "require_statement"]


@dataclass(frozen=True, eq=False)
class Formal:
    """What stands in a statement for the memory of *tensor*, one of an intrinsic's.

    Attributes:
        tensor: the tensor.
        buffer: the memory, by the name it has in the statement.
        strides: of each dimension, in elements: a number, which the match must have, or a variable, which it binds.
    """

    tensor: Tensor
    buffer: Buffer
    strides: tuple[int | Var, ...]

    def access_ptr(self, mode: str = "r", offset: ExprLike = 0) -> AccessPtr:
        """The address of the element *offset* elements after the first, for reading (``r``), writing (``w``) or both.

        Raises:
            ArgumentError: *mode* is another.
        """
        if not mode or set(mode) - {"r", "w"}:
            raise ArgumentError(f"access_ptr({mode!r}): the mode is 'r', 'w' or 'rw'", hint="access_ptr('r')")
        return AccessPtr(self.buffer, cast(as_expr(offset, dtypes.INDEX), dtypes.INDEX), mode)

    def __getitem__(self, indices: Any) -> Load:
        return Load(self.buffer, self._indices(indices))

    def store(self, indices: Any, value: ExprLike) -> Store:
        """``buffer[indices] = value``."""
        return Store(self.buffer, self._indices(indices), cast(as_expr(value, self.buffer.dtype), self.buffer.dtype))

    def _indices(self, indices: Any) -> tuple[Expr, ...]:
        items = indices if isinstance(indices, tuple) else (indices,)
        return tuple(cast(as_expr(item, dtypes.INDEX), dtypes.INDEX) for item in items)


def formal(
    tensor: Tensor, strides: Sequence[int | Var | Const | None] | None = None, name: str | None = None
) -> Formal:
    """A formal buffer for *tensor*.

    Args:
        tensor: one of the intrinsic's inputs, or its output.
        strides: of each dimension: a number, a variable (`te.Var`) that the statement uses, or None where any will do;
            by default those of memory without gaps.
        name: what it is called; by default as the tensor.

    Raises:
        ArgumentError: there is not one stride a dimension, or one is none of these.
    """
    buffer = Buffer(name or tensor.name, tensor.shape, tensor.dtype)
    given = buffer.element_strides if strides is None else strides
    if len(given) != tensor.ndim:
        raise ArgumentError(
            f"{tensor.name} has {counted(tensor.ndim, 'dimension')}, and {len(given)} strides are given",
            hint="one a dimension",
        )
    own: list[int | Var] = []
    for number, stride in enumerate(given):
        if stride is None:
            own.append(Var(f"{buffer.name}.s{number}"))
        elif isinstance(stride, Const):
            own.append(int(stride.value))
        elif isinstance(stride, Var | int):
            own.append(stride)
        else:
            raise ArgumentError(
                f"{tensor.name}: {stride!r} is no stride", hint="a number of elements, a te.Var, or None for any"
            )
    return Formal(tensor, buffer, tuple(own))


def call_statement(dtype: str, symbol: str, *args: ExprLike | AccessPtr) -> CallExtern:
    """Call the C function *symbol*, which gives *dtype* (or ``"void"``); what it gives is dropped.

    Raises:
        DtypeError: *dtype*, or that of an argument, is none that C functions take (see `te.call_extern`).
    """
    values = tuple(as_expr(arg) for arg in args)
    for kind in (dtype, *(value.dtype for value in values if not isinstance(value, AccessPtr))):
        if kind not in CALLABLE and not (kind == dtype == "void"):
            raise DtypeError(f"{symbol}() with {kind}: it takes and gives {', '.join(CALLABLE)}", hint="cast it")
    return CallExtern(symbol, values, dtype)


def require_statement(stmt: Stmt, formals: Sequence[Formal]) -> None:
    """Refuse a statement that is no code of an intrinsic with these *formals*.

    Raises:
        ArgumentError: it holds another sort of statement, a buffer that is none of them, or a variable without a value.
    """
    known = {item.buffer for item in formals}
    values = {stride for item in formals for stride in item.strides if isinstance(stride, Var)}
    for node in walk_stmt(stmt):
        if not isinstance(node, CallExtern | Store | Seq | For | If | Let):
            raise ArgumentError(
                f"an intrinsic's code holds calls, stores, loops and conditions, and no {type(node).__name__}",
                hint="keep what it needs besides inside the function that is called",
            )
        if isinstance(node, For | Let):
            values.add(node.var)
    for node in walk_stmt(stmt):
        for buffer in _buffers(node):
            if buffer not in known:
                raise ArgumentError(
                    f"{buffer.name} is no formal buffer of this intrinsic",
                    hint=f"it has {', '.join(b.name for b in known) or 'none'}: formals=[…]",
                )
        for var in _vars(_exprs(node)):
            if var not in values:
                raise ArgumentError(
                    f"variable {var.name!r} has no value in the intrinsic's code",
                    hint="use loops of the code itself, and the strides of its formal buffers",
                )


def _exprs(node: Stmt) -> Iterable[Expr]:
    return node.args if isinstance(node, CallExtern) else own_exprs(node)


def _buffers(node: Stmt) -> Iterator[Buffer]:
    if isinstance(node, Store):
        yield node.buffer
    for expr in _exprs(node):
        yield from (part.buffer for part in walk(expr) if isinstance(part, Load | AccessPtr))


def _vars(exprs: Iterable[Expr]) -> Iterator[Var]:
    for expr in exprs:
        yield from (node for node in walk(expr) if isinstance(node, Var))
