"""A nest as text, close to the Python that would run it; used by ``print(s)``, by errors and by ``flashsched show``."""

from __future__ import annotations

from collections.abc import Mapping

from flashsched.schedule.barrier import Barrier, Begun
from flashsched.schedule.calls import CallExtern
from flashsched.schedule.ir import (
    Alloc,
    Block,
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
)
from flashsched.schedule.program import Program
from flashsched.te.expr import Var
from flashsched.te.external import function_name
from flashsched.te.printing import expr_text
from flashsched.te.tensor import AxisKind

__all__ = ["nest_text", "program_text"]

_STEP = "  "


def program_text(program: Program) -> str:
    """A lowered program with its signature."""
    params = ", ".join(
        (
            *(
                f"{b.name}: {b.dtype}{'' if b.by_value else list(b.shape)}"
                for b in dict.fromkeys((*program.params, *program.outputs))
            ),
            *(f"{size.name}: size" for size in program.sizes),
        )
    )
    return f"def {program.name}({params}):\n" + _indent(nest_text(program.body))


def _indent(text: str) -> str:
    return "\n".join(_STEP + line for line in text.split("\n"))


def nest_text(stmt: Stmt, mark: Var | None = None, blocks: str | None = None) -> str:
    """*stmt* as text.

    Args:
        stmt: the nest.
        mark: the loop to mark with ``<--``.
        blocks: the name of a stage whose block is marked.
    """
    lines: list[str] = []
    _write(stmt, 0, {}, lines, mark, blocks)
    return "\n".join(lines)


def _name(var: Var, names: Mapping[Var, str]) -> str:
    taken = set(names.values())
    if var.name not in taken:
        return var.name
    number = 1
    while f"{var.name}_{number}" in taken:
        number += 1
    return f"{var.name}_{number}"


def _write(
    stmt: Stmt, depth: int, names: Mapping[Var, str], lines: list[str], mark: Var | None, blocks: str | None
) -> None:
    pad = _STEP * depth
    match stmt:
        case Seq(stmts=()):
            lines.append(f"{pad}pass")
        case Seq():
            for inner in stmt.stmts:
                _write(inner, depth, names, lines, mark, blocks)
        case For():
            name = _name(stmt.var, names)
            remarks = [] if stmt.kind is LoopKind.SERIAL else [stmt.kind.value]
            remarks += [f"{key}={value}" for key, value in stmt.notes.items()]
            remark = f"  # {', '.join(remarks)}" if remarks else ""
            arrow = "  <--" if stmt.var is mark else ""
            lines.append(f"{pad}for {name} in range({expr_text(stmt.extent, names)}):{remark}{arrow}")
            _write(stmt.body, depth + 1, {**names, stmt.var: name}, lines, mark, blocks)
        case If():
            lines.append(f"{pad}if {expr_text(stmt.condition, names)}:")
            _write(stmt.then, depth + 1, names, lines, mark, blocks)
            if stmt.otherwise is not None:
                lines.append(f"{pad}else:")
                _write(stmt.otherwise, depth + 1, names, lines, mark, blocks)
        case Alloc():
            b = stmt.buffer
            strides = "" if b.strides is None else f", strides={list(b.strides)}"
            lines.append(
                f"{pad}{b.name} = alloc({b.dtype}{list(b.shape)}, {b.scope!r}{strides})"
                + ("  # held by lanes" if b.held else "")
            )
            _write(stmt.body, depth, names, lines, mark, blocks)
        case Let():
            name = _name(stmt.var, names)
            lines.append(f"{pad}{name} = {expr_text(stmt.value, names)}")
            _write(stmt.body, depth, {**names, stmt.var: name}, lines, mark, blocks)
        case CallExtern():
            arguments = ", ".join(expr_text(arg, names) for arg in stmt.args)
            lines.append(f"{pad}{stmt.symbol}({arguments})")
        case Store():
            lines.append(f"{pad}{_store(stmt, names)}")
        case Prefetch():
            lines.append(f"{pad}prefetch {stmt.buffer.name}[{', '.join(expr_text(i, names) for i in stmt.indices)}]")
        case Barrier():
            lines.append(f"{pad}barrier" + (f"  # {stmt.under_way} copies under way" if stmt.under_way else ""))
        case Begun():
            lines.append(f"{pad}begun")
        case Break():
            lines.append(f"{pad}break")
        case Extern():
            lines.append(f"{pad}{_extern(stmt)}")
        case Block():
            _write_block(stmt, pad, names, lines, blocks)
        case _:
            pass


def _store(store: Store, names: Mapping[Var, str]) -> str:
    indices = ", ".join(expr_text(i, names) for i in store.indices)
    return f"{store.buffer.name}[{indices}] = {expr_text(store.value, names)}"


def _extern(stmt: Extern) -> str:
    given = ", ".join(buffer.name for buffer in stmt.inputs)
    return f"{', '.join(b.name for b in stmt.outputs)} = extern {function_name(stmt.function)}({given})"


def _write_block(block: Block, pad: str, names: Mapping[Var, str], lines: list[str], blocks: str | None) -> None:
    arrow = "  <--" if block.name == blocks else ""
    if block.extern is not None:
        lines.append(f"{pad}{_extern(block.extern)}{arrow}")
        return
    bound = ", ".join(f"{item.var.name}={expr_text(item.value, names)}" for item in block.iters)
    reduced = [item.var.name for item in block.iters if item.kind is AxisKind.REDUCE]
    remark = f"  # reduces {', '.join(reduced)}" if reduced else ""
    ordered = [item.var.name for item in block.iters if item.kind is AxisKind.ORDERED]
    remark += f"  # {', '.join(ordered)} in order" if ordered else ""
    written = [store.buffer for store in block.stores]
    remark += "  # double_buffer" if any(buffer.doubled for buffer in written) else ""
    remark += "  # rolling_buffer" if any(buffer.rolling is not None for buffer in written) else ""
    remark += "".join(f"  # specialize {condition}" for condition in block.notes.get("specialize", ()))
    lines.append(f"{pad}{block.name}({bound}):{remark}{arrow}")
    if block.where:
        lines.append(f"{pad}{_STEP}where {' and '.join(expr_text(w, names) for w in block.where)}")
    if block.within:
        lines.append(f"{pad}{_STEP}padding unless {' and '.join(expr_text(w, names) for w in block.within)}")
    for store in block.init:
        lines.append(f"{pad}{_STEP}init {_store(store, {})}")
    for store in block.stores:
        lines.append(f"{pad}{_STEP}{_store(store, {})}")
