"""How the body of a parallel loop, a function of its own, gets what it uses, and is called for ranges of turns.

The runtime passes on one pointer, so a first function unpacks what that points to and calls a second, the body, whose
parameters tell LLVM again that the buffers do not overlap.
"""

from __future__ import annotations

from flashsched.codegen.emit_code import Code, Value
from flashsched.codegen.emit_state import State
from flashsched.te.expr import Var

__all__ = ["LACKING", "call_in_parallel", "function_text"]

LACKING = "%lacking"
"""The parameter by which a body says how much memory it could not have."""


def call_in_parallel(name: str, outer: State, inner: State, turns: Value, lacking: str | None) -> None:
    """Add the function *name* to the module, whose code *inner* holds, and call it where *outer* is.

    Args:
        name: of the function that the runtime calls.
        outer: the point of the call.
        inner: what was written of the body, from ``%begin`` to ``%end``, and what it captured.
        turns: how many there are.
        lacking: the caller's pointer to the bytes that could not be had, if the body may lack memory.
    """
    code, module = outer.code, outer.code.module
    handed = []  # for each value its type, what LLVM may know of it, its name here and in the body
    for what, param in inner.captured.items():
        if isinstance(what, Var):
            handed.append(("i64", "", outer.variable(what).text, param))
        else:
            slot = outer.slot(what)
            handed.append(("ptr", f" {slot.notes}", slot.pointer, param))
    if lacking is not None:
        handed.append(("ptr", "", lacking, LACKING))
    unpack, context = Code(module), code.stack(8 * (len(inner.captured) + 1), "context")
    params, passed = [], []
    for number, (kind, notes, outside, param) in enumerate(handed):
        place = code.make(f"getelementptr i8, ptr {context}, i64 {8 * number}", "ptr")
        code.line(f"store {kind} {outside}, ptr {place.text}, align 8")
        source = unpack.make(f"getelementptr i8, ptr %context, i64 {8 * number}", "ptr")
        value = unpack.make(f"load {kind}, ptr {source.text}, align 8", kind)
        params.append(f"{kind}{notes} {param}")
        passed.append(f"{kind} {value.text}")
    signature = ", ".join([*params, "i64 %begin", "i64 %end"])
    module.add(function_text(f"internal void @{name}.body({signature})", "noinline nounwind", inner.code))
    unpack.line(f"call void @{name}.body({', '.join([*passed, 'i64 %begin', 'i64 %end'])})")
    module.add(function_text(f"internal void @{name}(ptr %context, i64 %begin, i64 %end)", "nounwind", unpack))
    module.declare("fs_parallel_for", "void", ["ptr", "ptr", "i64"])
    code.line(f"call void @fs_parallel_for(ptr @{name}, ptr {context}, i64 {turns.text})")


def function_text(head: str, attributes: str, code: Code) -> str:
    code.line("ret void")
    return f"define {head} {attributes} {{\n{code.body()}\n}}\n"
