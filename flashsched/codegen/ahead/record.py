"""What a saved kernel says of itself: a record of its parameters and of the machine that it needs, in its own file.

A record is JSON in a constant, between a mark and a checksum, so that it is found in any kind of file (ELF, Mach-O,
WebAssembly, an object or a shared library) before the system's loader touches the file.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flashsched.codegen.signature import Param, Signature
from flashsched.errors import FlashschedError, LibraryError
from flashsched.schedule.conditions import parse_size
from flashsched.te.expr import SizeVar
from flashsched.te.sizes import Shape, Size, alike, sizes_in

__all__ = ["FORMAT", "Record", "records_in"]

FORMAT = 1
"""Raised when a loader of before could not read the records any more."""

_MARK = b"flashsched kernel record: "
_WHOLE = re.compile(re.escape(_MARK) + rb"(\d{1,9}) ([0-9a-f]{64}) ")


@dataclass(frozen=True)
class Record:
    """One kernel of a file.

    Attributes:
        name: the C function's name.
        entry: the function that takes pointers and sizes only, which Python calls.
        signature: what the kernel takes.
        triple: LLVM's name of architecture and system.
        cpu: LLVM's name of the CPU.
        needs: the instruction sets that the machine must have, by LLVM's names.
        vector_bits: of the vectors that the code uses.
        threads: the function that sets the number of threads, if the kernel runs on several.
        version: of flashsched, that wrote it.
    """

    name: str
    entry: str
    signature: Signature
    triple: str
    cpu: str
    needs: tuple[str, ...]
    vector_bits: int
    threads: str | None
    version: str

    def to_bytes(self) -> bytes:
        """The record as it stands in a file.

        Raises:
            LibraryError: a size is an expression that can't be written as text.
        """
        signature = self.signature
        sizes = {size.name: size for size in _all_sizes(signature)}
        data = {
            "format": FORMAT,
            "flashsched": self.version,
            "name": self.name,
            "entry": self.entry,
            "params": [
                {
                    "name": param.name,
                    "dtype": param.dtype,
                    "shape": [_written(size, sizes) for size in param.shape],
                    "strides": None if param.strides is None else [_written(s, sizes) for s in param.strides],
                    "output": param.is_output,
                    "by_value": param.by_value,
                }
                for param in signature.params
            ],
            "sizes": [scalar.name for scalar in signature.scalars],
            "passed": [[place, size.name] for place, size in signature.passed],
            "not_below_0": [_written(need, sizes) for need in signature.needs],
            "may_lack_memory": signature.may_lack_memory,
            "target": {
                "triple": self.triple,
                "cpu": self.cpu,
                "needs": list(self.needs),
                "vector_bits": self.vector_bits,
            },
            "threads": self.threads,
        }
        text = json.dumps(data, separators=(",", ":")).encode()
        return b"%b%d %b %b\0" % (_MARK, len(text), hashlib.sha256(text).hexdigest().encode(), text)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Record:
        """The record that *data* was written from.

        Raises:
            LibraryError: it is of another format.
        """
        if data.get("format") != FORMAT:
            raise LibraryError(
                f"its records have format {data.get('format')}, written by flashsched {data.get('flashsched')}, and "
                f"this version reads format {FORMAT}",
                hint="save the kernels again, or install the version that wrote them",
            )
        names = [*data["sizes"], *(name for _, name in data["passed"])]
        sizes = {name: SizeVar(name) for name in names}
        params = [
            Param(
                param["name"],
                _read(param["shape"], sizes),
                param["dtype"],
                param["output"],
                None if param["strides"] is None else _read(param["strides"], sizes),
                param["by_value"],
            )
            for param in data["params"]
        ]
        signature = Signature(
            tuple(params),
            tuple(sizes[name] for name in data["sizes"]),
            tuple(parse_size(str(need), sizes) for need in data["not_below_0"]),
            tuple((place, sizes[name]) for place, name in data["passed"]),
            data["may_lack_memory"],
        )
        target = data["target"]
        return cls(
            data["name"],
            data["entry"],
            signature,
            target["triple"],
            target["cpu"],
            tuple(target["needs"]),
            target["vector_bits"],
            data["threads"],
            data["flashsched"],
        )


def records_in(content: bytes) -> list[Record]:
    """The records in a file's *content*, in the order in which they stand; none in a foreign file.

    Raises:
        LibraryError: one is damaged, or of another format.
    """
    found = []
    for start in re.finditer(re.escape(_MARK), content):
        head = _WHOLE.match(content, start.start())
        if head is None:  # the mark alone, in the text of a program that reads records
            continue
        text = content[head.end() : head.end() + int(head[1])]
        if hashlib.sha256(text).hexdigest().encode() != head[2]:
            raise LibraryError("the record of a kernel in it is damaged", hint="save it again, or copy it again")
        try:
            found.append(Record.from_json(json.loads(text)))
        except (KeyError, TypeError, FlashschedError) as error:
            if isinstance(error, LibraryError):
                raise
            raise LibraryError(f"the record of a kernel in it makes no sense: {error}") from None
    return found


def _all_sizes(signature: Signature) -> tuple[SizeVar, ...]:
    shapes = (size for param in signature.params for size in (*param.shape, *(param.strides or ())))
    return sizes_in([*shapes, *signature.needs, *signature.scalars, *(size for _, size in signature.passed)])


def _written(size: Size, sizes: Mapping[str, SizeVar]) -> int | str:
    if isinstance(size, int):
        return size
    try:
        if alike([parse_size(str(size), sizes)], [size]):
            return str(size)
    except FlashschedError:
        pass
    raise LibraryError(
        f"the size {size} can't be written down for the loader",
        hint="pass it as a size of its own, or bind the sizes: s.bind_sizes({n: 512})",
    )


def _read(shape: Sequence[int | str], sizes: Mapping[str, SizeVar]) -> Shape:
    return tuple(size if isinstance(size, int) else parse_size(size, sizes) for size in shape)
