"""LLVM text from elsewhere joined to a kernel's own: what an intrinsic's code and ``import_llvm`` have in common.

The joined module is text again, so that all that follows (the cache, the loader, ``Kernel.llvm_ir``) sees one text.
What comes from elsewhere is made internal to the kernel, loses the CPU that it was compiled for, and is optimised
together with the rest, so it can be inlined.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import llvmlite.binding as binding

from flashsched.codegen.emit_code import Import
from flashsched.codegen.target import Target
from flashsched.errors import LoweringError

__all__ = ["defined_functions", "linked"]

_CPU = re.compile(r'"(?:target-cpu|target-features|tune-cpu)"="[^"]*"')
_PLACE = re.compile(r"^target (?:triple|datalayout) = .*$", re.MULTILINE)
_TRIPLE = re.compile(r'^target triple = "([^"]*)"', re.MULTILINE)
_DEBUG = re.compile(r",? !dbg !\d+")


def linked(ir_text: str, imports: Mapping[str, Import], target: Target) -> str:
    """*ir_text* with *imports* (by a label for errors) put in.

    Raises:
        LoweringError: LLVM can't read one of them, it was compiled for another architecture, or it defines a function
            that the kernel or another one defines too.
    """
    context = binding.create_context()
    whole = _parsed(ir_text, "the kernel", context)
    taken = {function.name: "the kernel" for function in whole.functions if not function.is_declaration}
    own: dict[str, bool] = {}
    for label, part in imports.items():
        module = _parsed(_neutral(part.text, label, target), label, context)
        for function in defined_functions(module, label, part.function):
            if part.function is not None:
                function.name = part.function
            if function.name in taken:
                raise LoweringError(
                    f"{label} defines {function.name!r}, which {taken[function.name]} defines too",
                    hint="rename it in the LLVM text",
                )
            taken[function.name] = label
            own[function.name] = part.function is not None
        for variable in module.global_variables:
            if not variable.is_declaration and variable.linkage.name == "external":
                variable.linkage = "internal"
        try:
            whole.link_in(module)
        except RuntimeError as error:
            raise LoweringError(f"{label} can't be linked into the kernel: {str(error).strip()}") from None
    for function in whole.functions:
        if function.name in own and not function.is_declaration:
            function.linkage = "internal"
            if own[function.name]:
                function.add_function_attribute("alwaysinline")
    return str(whole)


def defined_functions(module: Any, label: str, only: str | None) -> list[Any]:
    """The functions that *module* defines for others; exactly one where *only* is the name that it is to get.

    Raises:
        LoweringError: there is none, or there are several.
    """
    found = [
        f
        for f in module.functions
        if not f.is_declaration and f.linkage.name != "internal" and f.linkage.name != "private"
    ]
    if not found or (only is not None and len(found) > 1):
        names = ", ".join(function.name for function in found) or "none"
        raise LoweringError(
            f"{label} must define {'one function' if only else 'a function'} that is not internal, and defines {names}",
            hint="mark helpers 'internal'",
        )
    return found


def _parsed(text: str, label: str, context: Any) -> Any:
    try:
        module = binding.parse_assembly(text, context)
        module.verify()
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise LoweringError(f"LLVM refuses the text of {label}: {reason}", hint="check it with llvm-as") from None
    return module


def _neutral(text: str, label: str, target: Target) -> str:
    """*text* without the CPU it was compiled for, and without debug information."""
    named = _TRIPLE.search(text)
    arch = named[1].split("-")[0] if named else target.arch
    if arch != target.arch and {arch, target.arch} != {"aarch64", "arm64"}:
        raise LoweringError(
            f"{label} is LLVM text for {arch}, and the kernel is compiled for {target.arch}",
            hint=f"compile it with clang --target={target.triple} -S -emit-llvm",
        )
    if "llvm.global_ctors" in text or "llvm.global_dtors" in text:
        raise LoweringError(f"{label} has code that runs when it is loaded", hint="leave out static constructors")
    return _CPU.sub("", _DEBUG.sub("", _PLACE.sub("", text)))
