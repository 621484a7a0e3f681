"""LLVM text from elsewhere joined to a kernel's own: what an intrinsic's code and ``import_llvm`` have in common.

The joined module is text again, so that all that follows (the cache, the loader, ``Kernel.llvm_ir``) sees one text.
What comes from elsewhere is made internal to the kernel, loses the CPU that it was compiled for, and is optimised
together with the rest, so it can be inlined.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from contextlib import ExitStack, closing
from typing import Any

import llvmlite.binding as binding

from flashsched.codegen.emit_code import Import
from flashsched.codegen.target import Target
from flashsched.errors import LoweringError

__all__ = ["linked"]

_CPU = re.compile(r'"(?:target-cpu|target-features|tune-cpu)"="[^"]*"')
_PLACE = re.compile(r"^target (?:triple|datalayout) = .*$", re.MULTILINE)
_TRIPLE = re.compile(r'^target triple = "([^"]*)"', re.MULTILINE)
_DEBUG = re.compile(r",? !dbg !\d+")


def linked(ir_text: str, imports: Mapping[str, Import], target: Target, reserved: Collection[str] = ()) -> str:
    """*ir_text* with *imports* (by a label for errors) put in; none may define one of the *reserved* names.

    Raises:
        LoweringError: LLVM can't read one of them, it was compiled for another architecture, or it defines a function
            that the kernel or another one defines too.
    """
    with ExitStack() as modules:  # closed in order: one that outlives its context, in a traceback, ends the process
        context = binding.create_context()
        whole = modules.enter_context(closing(_parsed(ir_text, "the kernel", context)))
        taken = dict.fromkeys((f.name for f in whole.functions if not f.is_declaration), "the kernel")
        called = {f.name: str(f.global_value_type) for f in whole.functions if f.is_declaration}
        inlined: set[str] = set()
        own: set[str] = set()
        for label, part in imports.items():
            module = modules.enter_context(closing(_parsed(_neutral(part.text, label, target), label, context)))
            for function in _defined(module, label, part.function):
                _require_free(function.name, label, taken, reserved)
                _require_alike(function, label, called.get(function.name))
                taken[function.name] = label
                own.add(function.name)
                if part.function is not None:
                    inlined.add(function.name)
            _link(whole, module, label)
        for function in whole.functions:
            if function.name in own and not function.is_declaration:
                function.linkage = "internal"
                if function.name in inlined:
                    function.add_function_attribute("alwaysinline")
        return str(whole)


def _link(whole: Any, module: Any, label: str) -> None:
    for variable in module.global_variables:
        if not variable.is_declaration and variable.linkage.name == "external":
            variable.linkage = "internal"
    try:
        whole.link_in(module)
    except RuntimeError as error:
        raise LoweringError(
            f"{label} can't be linked into the kernel: {str(error).strip()}",
            hint="its functions must take and give what the kernel calls them with",
        ) from None


def _require_free(name: str, label: str, taken: Mapping[str, str], reserved: Collection[str]) -> None:
    if name in reserved or name.startswith(("llvm.", "fs_")):
        raise LoweringError(
            f"{label} defines {name!r}, which kernels call from the C library or the runtime",
            hint="rename it in the LLVM text",
        )
    if name in taken:
        raise LoweringError(
            f"{label} defines {name!r}, which {taken[name]} defines too", hint="rename it in the LLVM text"
        )


def _require_alike(function: Any, label: str, called: str | None) -> None:
    """Refuse a *function* of another type than it is *called* with: LLVM would link the two, and run nonsense."""
    if called is not None and str(function.global_value_type) != called:
        raise LoweringError(
            f"{label} defines a function of the type {function.global_value_type}, and the kernel calls it as {called}",
            hint="give it these parameters in this order; what it means is written where it was declared",
        )


def _defined(module: Any, label: str, only: str | None) -> list[Any]:
    """The functions that *module* defines for others; where *only* is given just one, which gets that name.

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
    if only is not None:
        found[0].name = only
    return found


def _parsed(text: str, label: str, context: Any) -> Any:
    try:
        module = binding.parse_assembly(text, context)
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
    return _CPU.sub('"imported"', _DEBUG.sub("", _PLACE.sub("", text)))
