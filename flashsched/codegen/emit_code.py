"""The text of one LLVM module and of its functions, as it is being written: names, blocks, and typed operations.

This layer knows LLVM's types and nothing of te: what an operation means, and which one is needed, is decided by the
``emit_*`` files above it. A `Value` is scalar or a vector, and `Code` broadcasts a scalar where it meets a vector, so
everything that is written with it works for both.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from flashsched.codegen.target import Target
from flashsched.errors import LoweringError

__all__ = ["BITS", "Code", "Import", "Module", "Value", "clean_name", "literal", "vector_type"]

BITS: Final = {"double": 64, "float": 32, "half": 16, "i64": 64, "i32": 32, "i16": 16, "i8": 8, "i1": 1}
_OVERLOAD: Final = {"double": "f64", "float": "f32", "half": "f16"}
_LOOP_NOTES: Final = """\
!0 = !{!"llvm.loop.vectorize.enable", i1 false}
!1 = !{!"llvm.loop.unroll.disable"}
"""


def vector_type(kind: str, lanes: int) -> str:
    """LLVM's name of *lanes* elements of *kind*; one element is a scalar."""
    return kind if lanes == 1 else f"<{lanes} x {kind}>"


class Import(NamedTuple):
    """LLVM text from elsewhere; where *function* is given, the one function that it defines gets this name."""

    text: str
    function: str | None = None


class Value(NamedTuple):
    """What an instruction gave, or a literal: its text, the LLVM type of an element, and how many there are."""

    text: str
    kind: str
    lanes: int = 1

    @property
    def type(self) -> str:
        """The LLVM type of the whole value."""
        return vector_type(self.kind, self.lanes)

    @property
    def is_literal(self) -> bool:
        """Whether no instruction is needed for it."""
        return self.text[0] != "%"


def literal(value: float | int | bool, kind: str) -> Value:
    """A scalar constant of LLVM type *kind*; a float must be exact in it."""
    if kind in ("float", "double"):  # both are written as the bits of a double
        return Value(f"0x{struct.unpack('<Q', struct.pack('<d', value))[0]:016X}", kind)
    if kind == "i1":
        return Value("true" if value else "false", kind)
    return Value(str(int(value)), kind)


def clean_name(name: str) -> str:
    """*name* in characters that LLVM takes without quotes, starting with a letter."""
    cleaned = re.sub(r"[^A-Za-z0-9_.]", "_", name)
    return cleaned if cleaned[:1].isalpha() else f"v{cleaned}"


class Module:
    """The text of a module: functions, what they call, and the notes on loops.

    Attributes:
        target: the CPU that the text is for.
        imports: LLVM text from elsewhere that the module calls, by a label for errors.
    """

    def __init__(self, target: Target) -> None:
        self.target = target
        self.imports: dict[str, Import] = {}
        self._functions: list[str] = []
        self._declared: dict[str, str] = {}
        self._loops = 1
        self._unrolled: set[int] = set()

    def declare(self, name: str, result: str, params: Sequence[str], attributes: str = "") -> None:
        """Say that ``result name(params)`` is defined elsewhere."""
        head = f"{result} @{name}({', '.join(params)})"
        known = self._declared.setdefault(name, f"declare {head} {attributes}".rstrip())
        if not f"{known} ".startswith(f"declare {head} "):
            raise LoweringError(
                f"{name}() is called in two ways: {known.removeprefix('declare ').partition(')')[0]}), and {head}",
                hint="give all calls of a function arguments and results of the same dtypes",
            )

    def loop_note(self, unroll: bool = False) -> str:
        """A new note that forbids LLVM to vectorize one loop, and to unroll it or not to; it refers to itself."""
        self._loops += 1
        if unroll:
            self._unrolled.add(self._loops)
        return f"!{self._loops}"

    def add(self, function: str) -> None:
        """Append a function's text."""
        self._functions.append(function)

    def text(self, title: str) -> str:
        """The whole module, under a comment."""
        full = '!{!"llvm.loop.unroll.full"}'
        words = [(n, full if n in self._unrolled else "!1") for n in range(2, self._loops + 1)]
        notes = [f"!{n} = distinct !{{!{n}, !0, {word}}}\n" for n, word in words]
        parts = [f"; {title}\n", *self._functions, *self._declared.values(), "", _LOOP_NOTES + "".join(notes)]
        return "\n".join(parts)


class Code:
    """The body of one function while it is being written.

    Attributes:
        module: the module that it will belong to.
        label: the basic block that is being written.
        memo: values that are at hand at this point, by whatever key their makers choose.
        calls: how many calls were written that may write memory.
    """

    def __init__(self, module: Module) -> None:
        self.module = module
        self.label = "entry"
        self.memo: dict[Any, Any] = {}
        self.calls = 0
        self._head: list[str] = []
        self._lines: list[str] = []
        self._count = 0

    def body(self) -> str:
        """All that was written, allocations first."""
        return "\n".join(["entry:", *self._head, *filter(None, self._lines)])

    def fresh(self, hint: str) -> str:
        """A name that no other value or block of this function has (without its ``%``)."""
        self._count += 1
        return f"{hint}.{self._count}"

    def line(self, text: str) -> None:
        """Write an instruction that gives nothing."""
        self._lines.append("  " + text)
        self._count_call(text)

    def reserve(self) -> int:
        """Leave room here for a line that may turn out to be needed: where it is."""
        self._lines.append("")
        return len(self._lines) - 1

    def fill(self, place: int, text: str) -> None:
        """Write an instruction that gives nothing where room was left."""
        self._lines[place] = "  " + text
        self._count_call(text)

    def comment(self, text: str) -> None:
        """Write a remark for people."""
        self._lines.append("  ; " + text.replace("\n", " "))

    def make(self, instruction: str, kind: str, lanes: int = 1, hint: str = "v") -> Value:
        """Write an instruction and return what it gives."""
        self._count += 1
        name = f"%{hint}.{self._count}"
        self._lines.append(f"  {name} = {instruction}")
        self._count_call(instruction)
        return Value(name, kind, lanes)

    def _count_call(self, text: str) -> None:
        if text.startswith("call ") and "@llvm." not in text:
            self.calls += 1

    def stack(self, size: int, hint: str, alignment: int = 64) -> str:
        """A pointer to *size* bytes of the stack, aligned to 64 or as said, for as long as the function runs."""
        if self.module.target.arch == "amdgcn":  # whose stack is an address space of its own
            made = self.first(f"alloca [{max(size, 1)} x i8], align {alignment}, addrspace(5)", hint)
            return self.first(f"addrspacecast ptr addrspace(5) {made} to ptr", hint)
        return self.first(f"alloca [{max(size, 1)} x i8], align {alignment}", hint)

    def first(self, instruction: str, hint: str) -> str:
        """Write an instruction at the head of the function, and return the name of what it gives."""
        name = "%" + self.fresh(hint)
        self._head.append(f"  {name} = {instruction}")
        return name

    @contextmanager
    def branch(self) -> Iterator[None]:
        """A stretch that may be skipped or run again: what it makes is at hand only until it ends."""
        saved, self.memo = self.memo, dict(self.memo)
        try:
            yield
        finally:
            self.memo = saved

    def start(self, label: str) -> None:
        """End the block with a jump to *label* and go on there."""
        self.line(f"br label %{label}")
        self.enter(label)

    def enter(self, label: str) -> None:
        """Go on in block *label*; the one before has been ended."""
        self._lines.append(f"{label}:")
        self.label = label

    # -- values

    def broadcast(self, value: Value, lanes: int) -> Value:
        """*value* in each of *lanes* lanes; a vector stays as it is."""
        if value.lanes == lanes:
            return value
        if value.is_literal:
            return Value(f"splat ({value.kind} {value.text})", value.kind, lanes)
        key = ("splat", value.text, lanes)
        found = self.memo.get(key)
        if found is None:
            of = vector_type(value.kind, lanes)
            one = self.make(f"insertelement {of} poison, {value.kind} {value.text}, i64 0", value.kind, lanes)
            found = self.make(
                f"shufflevector {of} {one.text}, {of} poison, <{lanes} x i32> zeroinitializer", value.kind, lanes
            )
            self.memo[key] = found
        return found

    def _level(self, values: Sequence[Value]) -> tuple[int, list[Value]]:
        lanes = max(value.lanes for value in values)
        return lanes, [value if value.lanes == lanes else self.broadcast(value, lanes) for value in values]

    def iota(self, lanes: int, kind: str) -> Value:
        """0, 1, 2, … as a literal vector."""
        return Value(f"<{', '.join(f'{kind} {n}' for n in range(lanes))}>", kind, lanes)

    def op(self, opcode: str, a: Value, b: Value) -> Value:
        """A binary instruction, e.g. ``add nsw``; gives what it takes."""
        if a.lanes != b.lanes:
            _, (a, b) = self._level((a, b))
        return self.make(f"{opcode} {a.type} {a.text}, {b.text}", a.kind, a.lanes)

    def compare(self, predicate: str, a: Value, b: Value) -> Value:
        """``icmp slt``, ``fcmp olt``, …: an i1."""
        lanes, (a, b) = self._level((a, b))
        return self.make(f"{predicate} {a.type} {a.text}, {b.text}", "i1", lanes)

    def select(self, condition: Value, a: Value, b: Value) -> Value:
        """*a* where *condition* holds, else *b*; both are there already."""
        lanes, (a, b) = self._level((a, b))
        if condition.lanes > lanes:
            lanes = condition.lanes
            a, b = self.broadcast(a, lanes), self.broadcast(b, lanes)
        text = f"select {condition.type} {condition.text}, {a.type} {a.text}, {b.type} {b.text}"
        return self.make(text, a.kind, lanes)

    def convert(self, opcode: str, value: Value, kind: str) -> Value:
        """A conversion instruction (``sext``, ``bitcast``, ``fptrunc``, …) to elements of *kind*."""
        to = vector_type(kind, value.lanes)
        return self.make(f"{opcode} {value.type} {value.text} to {to}", kind, value.lanes)

    def intrinsic(self, name: str, *values: Value, flag: str = "") -> Value:
        """``llvm.NAME`` of values of one type, which it also gives; *flag* is a last, plain argument."""
        lanes, values = self._level(values)  # type: ignore[assignment]
        kind = values[0].kind
        of = vector_type(kind, lanes)
        suffix = ("" if lanes == 1 else f"v{lanes}") + _OVERLOAD.get(kind, kind)
        params = [of] * len(values) + ([flag.split()[0]] if flag else [])
        self.module.declare(f"llvm.{name}.{suffix}", of, params)
        args = [f"{of} {value.text}" for value in values] + ([flag] if flag else [])
        return self.make(f"call {of} @llvm.{name}.{suffix}({', '.join(args)})", kind, lanes)

    def any_lane(self, mask: Value) -> Value:
        """Whether some lane of *mask* holds."""
        name = f"llvm.vector.reduce.or.v{mask.lanes}i1"
        self.module.declare(name, "i1", [mask.type])
        return self.make(f"call i1 @{name}({mask.type} {mask.text})", "i1")

    def extract(self, value: Value, lane: int) -> Value:
        """One lane of a vector."""
        return self.make(f"extractelement {value.type} {value.text}, i64 {lane}", value.kind)

    def shuffle(self, a: Value, b: Value, picks: Sequence[int]) -> Value:
        """The elements *picks* of *a* followed by *b*."""
        chosen = ", ".join(f"i32 {n}" for n in picks)
        text = f"shufflevector {a.type} {a.text}, {b.type} {b.text}, <{len(picks)} x i32> <{chosen}>"
        return self.make(text, a.kind, len(picks))

    def each_lane(self, function: str, *values: Value) -> Value:
        """The C function *function*, from values of one type to that type, called once a lane."""
        lanes, values = self._level(values)  # type: ignore[assignment]
        kind = values[0].kind
        self.module.declare(function, kind, [kind] * len(values), "nounwind willreturn memory(none)")
        result = Value("poison", kind, lanes)
        for lane in range(lanes):
            parts = values if lanes == 1 else [self.extract(value, lane) for value in values]
            args = ", ".join(f"{kind} {part.text}" for part in parts)
            one = self.make(f"call {kind} @{function}({args})", kind)
            if lanes == 1:
                return one
            result = self.make(f"insertelement {result.type} {result.text}, {kind} {one.text}, i64 {lane}", kind, lanes)
        return result

    def phi(self, arms: Sequence[tuple[Value, str]], hint: str = "v") -> Value:
        """The value that belongs to the block that control came from."""
        first = arms[0][0]
        pairs = ", ".join(f"[ {value.text}, %{label} ]" for value, label in arms)
        return self.make(f"phi {first.type} {pairs}", first.kind, first.lanes, hint)
