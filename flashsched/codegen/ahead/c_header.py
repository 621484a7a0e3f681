"""The C header of a library of kernels: prototypes, and in words what the types can't say."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Final

from flashsched.codegen.ahead.record import Record
from flashsched.codegen.ahead.wrapper import BAD_SIZE, NO_MEMORY, c_arguments, c_names
from flashsched.codegen.signature import Param
from flashsched.errors import counted
from flashsched.te import dtypes
from flashsched.te.expr import SizeVar, Var
from flashsched.te.printing import expr_text
from flashsched.te.sizes import Size

__all__ = ["header_text"]

_SPECIAL: Final = {"float16": ", as the 16 bits of each", "bfloat16": ", as the 16 bits of each", "bool": ", 0 or 1"}
_WIDTH = 100


def header_text(stem: str, records: Sequence[Record], threaded: bool, parallel: bool) -> str:
    """The header ``stem.h`` of the kernels that *records* describe.

    Args:
        stem: the file's name without its ending.
        records: the kernels, all for one target.
        threaded: whether they bring threads.
        parallel: whether some of them have parallel loops.
    """
    guard = re.sub(r"\W", "_", f"FLASHSCHED_{stem}_H", flags=re.ASCII).upper()
    first = next((record for record in records if record.threads), records[0])
    parts = [
        _comment([*_about(stem, first), "", *_threads(first, threaded, parallel)]),
        f"#ifndef {guard}\n#define {guard}\n\n#include <stdint.h>\n",
        _RESTRICT,
        '#ifdef __cplusplus\nextern "C" {\n#endif\n',
        *map(_kernel, records),
    ]
    if first.threads is not None:
        parts.append(_set_threads(first.threads))
    parts.append("#ifdef __cplusplus\n}\n#endif\n\n#endif")
    return "\n".join(parts) + "\n"


_RESTRICT = f"""\
#ifndef FLASHSCHED_RESTRICT
#ifdef __cplusplus
#define FLASHSCHED_RESTRICT __restrict
#else
#define FLASHSCHED_RESTRICT restrict
#endif
#endif

/* What the functions give: 0 for done, or why not. */
#ifndef FLASHSCHED_DONE
#define FLASHSCHED_DONE 0
#define FLASHSCHED_NO_MEMORY {NO_MEMORY} /* there is no memory for what is computed on the way; outputs hold anything */
#define FLASHSCHED_BAD_SIZE {BAD_SIZE} /* a size is below 0, or makes a dimension below 0; outputs are as they were */
#endif
"""


def _about(stem: str, record: Record) -> list[str]:
    needs = ", ".join(record.needs) or "nothing special"
    return [
        f"{stem}.h: kernels compiled by flashsched {record.version}. Do not edit.",
        "",
        *_filled(f"For {record.triple}, CPU {record.cpu}. The machine must have: {needs}."),
        "",
        *_filled(
            "Arrays are row-major and contiguous unless said otherwise, and aligned to their elements. No output may "
            "share memory with another argument. The functions may be called from several threads at once."
        ),
    ]


def _threads(record: Record, threaded: bool, parallel: bool) -> list[str]:
    if not parallel:
        return ["Each call runs on the thread that makes it."]
    if not threaded:
        return _filled("This target has no threads here: what is parallel elsewhere runs on the thread that calls.")
    stem = (record.threads or "").removesuffix("_set_num_threads")
    return _filled(
        f"Parallel loops run on {stem}_num_threads() threads: as many as were set, else as FLASHSCHED_NUM_THREADS says "
        "in the environment, else one for each CPU that the process may use. Link with the system's threads (-pthread)."
    )


def _filled(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH)


def _set_threads(name: str) -> str:
    stem = name.removesuffix("_set_num_threads")
    return (
        "/* How many threads run a call from now on, the caller's among them: 1 to 1024. */\n"
        f"void {name}(int n);\nint {stem}_num_threads(void);\n"
    )


def _kernel(record: Record) -> str:
    signature = record.signature
    names, declared, lines = c_names(signature), [], [f"{record.name}, its arguments in order:", ""]
    spelt: dict[Var, str] = {a: n for a, n in zip(c_arguments(signature), names, strict=True) if isinstance(a, SizeVar)}
    for argument, name in zip(c_arguments(signature), names, strict=True):
        if isinstance(argument, SizeVar):
            declared.append(f"int64_t {name}")
            lines.append(f"{name}: a size, at least 0")
            continue
        param = signature.params[argument]
        kind = _c_type(param.dtype)
        if param.by_value:
            declared.append(f"{kind} {name}")
            lines.append(f"{name}: a number{_SPECIAL.get(param.dtype, '')}")
            continue
        const = "" if param.is_output else "const "
        declared.append(f"{const}{kind} *FLASHSCHED_RESTRICT {name}")
        lines.append(_array(param, name, spelt))
    if signature.needs:
        needs = ", ".join(_in_c(need, spelt) for need in signature.needs)
        lines += ["", f"These must not be below 0: {needs}."]
    lines += ["", _answers(record)]
    text = f"int {record.name}({', '.join(declared) or 'void'});"
    if len(text) > _WIDTH:
        text = f"int {record.name}(\n    " + ",\n    ".join(declared) + ");"
    about = f"/* What Python needs to know of {record.name} to load it: JSON. */"
    return f"{_comment(lines)}\n{text}\n\n{about}\nextern const char {record.name}__flashsched_json[];\n"


def _c_type(dtype: str) -> str:
    if dtype in ("float64", "float32"):
        return "double" if dtype == "float64" else "float"
    signed = dtypes.is_int(dtype) and not dtypes.is_unsigned(dtype)
    return f"{'' if signed else 'u'}int{dtypes.bits(dtype)}_t"


def _answers(record: Record) -> str:
    signature = record.signature
    answers = ["FLASHSCHED_DONE"]
    if signature.may_lack_memory:
        answers.append("FLASHSCHED_NO_MEMORY")
    if any(isinstance(argument, SizeVar) for argument in c_arguments(signature)):
        answers.append("FLASHSCHED_BAD_SIZE")
    return f"Gives {' or '.join(answers)}."


def _array(param: Param, name: str, spelt: Mapping[Var, str]) -> str:
    way = "output" if param.is_output else "input"
    shape = "".join(f"[{_in_c(size, spelt)}]" for size in param.shape) or ", one element"
    size = dtypes.bits(param.dtype) // 8
    aligned = f"aligned to {counted(size, 'byte')}"
    text = f"{name}: {way}, {param.dtype}{shape}{_SPECIAL.get(param.dtype, '')}, {aligned}"
    if param.strides is not None:
        text += f", elements [{', '.join(_in_c(step, spelt) for step in param.strides)}] apart"
    return text


def _in_c(size: Size, spelt: Mapping[Var, str]) -> str:
    """A size as C's reader knows it; what has other names there is spelt so."""
    if isinstance(size, int):
        return str(size)
    return expr_text(size, spelt).replace("//", "/")  # not below 0, so both round alike; // would begin a remark


def _comment(lines: Sequence[str]) -> str:
    return "/*\n" + "\n".join(f" * {line}".rstrip().replace("*/", "* /") if line else " *" for line in lines) + "\n */"
