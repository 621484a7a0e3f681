"""What a lane of a GPU's warp asks of another one: the value that it has in a register (PTX ``shfl.sync``)."""

from __future__ import annotations

from typing import Final

from flashsched.codegen.emit_code import BITS, Code, Value, literal

__all__ = ["of_lane"]

_SHUFFLE: Final = "llvm.nvvm.shfl.sync.idx.i32"
_ALL_LANES, _WHOLE_WARP = -1, 31


def of_lane(code: Code, value: Value, lane: Value) -> Value:
    """*value* as *lane* has it; all lanes of the warp ask at once. Only the lane's number in its warp counts."""
    number = code.convert("trunc", lane, "i32")
    bits = BITS[value.kind]
    word = value if value.kind.startswith("i") else code.convert("bitcast", value, f"i{bits}")
    if bits < 32:
        found = code.convert("trunc", _shuffled(code, code.convert("zext", word, "i32"), number), word.kind)
    elif bits == 32:
        found = _shuffled(code, word, number)
    else:
        half = literal(32, word.kind)
        low = _shuffled(code, code.convert("trunc", word, "i32"), number)
        high = _shuffled(code, code.convert("trunc", code.op("lshr", word, half), "i32"), number)
        high = code.op("shl", code.convert("zext", high, word.kind), half)
        found = code.op("or", high, code.convert("zext", low, word.kind))
    return found if found.kind == value.kind else code.convert("bitcast", found, value.kind)


def _shuffled(code: Code, word: Value, lane: Value) -> Value:
    code.module.declare(_SHUFFLE, "i32", ["i32"] * 4, "convergent nounwind")
    text = f"call i32 @{_SHUFFLE}(i32 {_ALL_LANES}, i32 {word.text}, i32 {lane.text}, i32 {_WHOLE_WARP})"
    return code.make(text, "i32")
