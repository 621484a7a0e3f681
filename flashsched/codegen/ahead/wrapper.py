"""The C function of a kernel: what a C program calls, in the order and with the types that the header declares.

Kernels take pointers and sizes, all of a call's numbers in memory; C wants a number as a number, and an answer. So a
function around the kernel's own puts numbers into memory, refuses sizes that the kernel can't take, and says whether
there was memory.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from flashsched.codegen.emit_code import Code, Module, Value, literal
from flashsched.codegen.emit_expr import Expressions
from flashsched.codegen.emit_state import State
from flashsched.codegen.signature import Signature
from flashsched.codegen.target import Target
from flashsched.errors import LibraryError
from flashsched.te import dtypes
from flashsched.te.expr import Expr, SizeVar

__all__ = ["BAD_SIZE", "NO_MEMORY", "c_arguments", "c_names", "require_c_name", "wrapper_text"]

NO_MEMORY, BAD_SIZE = 1, 2
"""What the function gives where it could not do its work; 0 where it did."""

_WORDS: Final = frozenset(
    re.findall(
        r"\w+",
        """
    alignas alignof and and_eq asm auto bitand bitor bool break case catch char class compl complex const const_cast
    constexpr continue decltype default delete do double dynamic_cast else enum explicit export extern false float for
    friend goto if imaginary inline int long main mutable namespace new noexcept not not_eq nullptr operator or or_eq
    private protected public register reinterpret_cast restrict return short signed sizeof static static_assert
    static_cast struct switch template this thread_local throw true try typedef typeid typename typeof union unsigned
    using virtual void volatile wchar_t while xor xor_eq
    """,
    )
)
"""Words of C and C++ that name nothing else."""


def require_c_name(name: str, taken: Collection[str]) -> None:
    """Refuse *name* for a C function if C can't have it, or another function has it.

    Raises:
        LibraryError: it is no identifier, a word of C, or one of *taken*.
    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) or name in _WORDS or name.startswith("fs_"):
        raise LibraryError(
            f"{name!r} can't be the name of a C function",
            hint='name it: fs.save_library(path, {"matmul": kernel}), or fs.build(..., name="matmul")',
        )
    if name in taken:
        raise LibraryError(
            f"the C library, or another function of this one, is called {name!r} too",
            hint='choose another name: fs.save_library("libops.so", {"my_name": kernel})',
        )


def c_arguments(signature: Signature) -> list[int | SizeVar]:
    """What the C function takes, parameters by their number: what a call from Python takes, outputs among it, then the
    sizes that shapes tell there.

    Raises:
        LibraryError: something is passed that is no array, number or size.
    """
    arguments: list[int | SizeVar] = list(range(len(signature.params)))
    for place, size in signature.passed:
        arguments.insert(place, size)
    told = {size for _, size in signature.passed}
    for scalar in signature.scalars:
        if not isinstance(scalar, SizeVar):
            raise LibraryError(f"the kernel takes {scalar}, which is no size", hint="save the kernel that build gave")
        if scalar not in told:
            arguments.append(scalar)
    return arguments


def c_names(signature: Signature) -> list[str]:
    """A C name for each of `c_arguments`, near to its own."""
    names: list[str] = []
    for argument in c_arguments(signature):
        own = signature.params[argument].name if isinstance(argument, int) else argument.name
        name = re.sub(r"\W", "_", own, flags=re.ASCII).lstrip("_0123456789") or "x"
        while name in names or name in _WORDS:
            name += "_"
        names.append(name)
    return names


def wrapper_text(name: str, entry: str, signature: Signature, target: Target) -> str:
    """LLVM text of the C function *name* around the kernel's function *entry*."""
    module = Module(target)
    code = Code(module)
    state = State(code)
    params: list[str] = []
    pointers: dict[int, str] = {}
    for number, argument in enumerate(c_arguments(signature)):
        value = f"%a{number}"
        if isinstance(argument, SizeVar):
            state.variables[argument] = Value(value, "i64")
            params.append(f"i64 {value}")
        elif signature.params[argument].by_value:
            kind = _passed(signature.params[argument].dtype)
            place = code.stack(8, "number")
            code.line(f"store {kind.split()[0]} {value}, ptr {place}")
            params.append(f"{kind} {value}")
            pointers[argument] = place
        else:
            params.append(f"ptr {value}")
            pointers[argument] = value
    _refuse_sizes(signature, state)
    passed = [f"ptr {pointers[number]}" for number in range(len(signature.params))]
    passed += [f"i64 {state.variables[scalar].text}" for scalar in signature.scalars]
    kinds = [text.split()[0] for text in passed]
    if signature.may_lack_memory:
        lacking = code.stack(8, "lacking")
        code.line(f"store i64 0, ptr {lacking}, align 8")
        passed.append(f"ptr {lacking}")
        kinds.append("ptr")
    module.declare(entry, "void", kinds)
    code.line(f"call void @{entry}({', '.join(passed)})")
    answer = literal(0, "i32")
    if signature.may_lack_memory:
        room = code.make(f"load i64, ptr {lacking}, align 8", "i64")
        answer = code.convert("zext", code.compare("icmp ne", room, literal(0, "i64")), "i32")
        assert NO_MEMORY == 1
    code.line(f"ret i32 {answer.text}")
    attributes = f' "wasm-export-name"="{name}"' if target.arch == "wasm32" else ""
    module.add(f"define signext i32 @{name}({', '.join(params)}) nounwind{attributes} {{\n{code.body()}\n}}\n")
    return module.text(f"the C function {name}")


def _passed(dtype: str) -> str:
    """LLVM's type of a number that C passes, and how it is widened to a register, as the architectures agree on."""
    if dtype in ("float64", "float32"):
        return "double" if dtype == "float64" else "float"
    width = dtypes.bits(dtype)
    if width == 64:
        return "i64"
    signed = width == 32 or (dtypes.is_int(dtype) and not dtypes.is_unsigned(dtype))  # RISC-V's 32 bits are signed
    return f"i{width} {'signext' if signed else 'zeroext'}"


def _refuse_sizes(signature: Signature, state: State) -> None:
    """Give `BAD_SIZE` back where a size is below 0, or a dimension would be."""
    code = state.code
    shapes = [size for param in signature.params for size in param.shape if isinstance(size, Expr)]
    for size in dict.fromkeys((*state.variables, *shapes, *signature.needs)):  # plain sizes first
        negative = code.compare("icmp slt", Expressions(state).value(size), literal(0, "i64"))
        refuse, go_on = code.fresh("refuse"), code.fresh("go_on")
        code.line(f"br i1 {negative.text}, label %{refuse}, label %{go_on}")
        code.enter(refuse)
        code.line(f"ret i32 {BAD_SIZE}")
        code.enter(go_on)
