"""LLVM text that schedules import, known by its hash: a trace holds the name, never the code.

Apart from the pragma that names a text, because whoever replays a trace in another process must have brought the text
there before; nothing is ever read from a log.
"""

from __future__ import annotations

import hashlib

from flashsched.errors import ArgumentError, TraceError

__all__ = ["PREFIX", "llvm_text", "remember_llvm"]

PREFIX = "sha256:"
"""What the name of a text begins with."""

_texts: dict[str, str] = {}


def remember_llvm(text: str) -> str:
    """Keep *text* for this process, and return its name, which a trace may hold.

    >>> name = remember_llvm("define float @two() {\\n  ret float 2.0\\n}")
    >>> name[:13]
    'sha256:60e330'

    Raises:
        ArgumentError: *text* defines no function.
    """
    if "define " not in text:
        raise ArgumentError(
            "import_llvm takes LLVM text that defines a function",
            hint="pass the text itself, as clang -S -emit-llvm -o - writes it",
        )
    name = PREFIX + hashlib.sha256(text.encode()).hexdigest()
    _texts[name] = text
    return name


def llvm_text(name: str) -> str:
    """The text called *name*.

    Raises:
        TraceError: this process has not seen it.
    """
    if name not in _texts:
        raise TraceError(
            f"the LLVM text {name[:20]}… is not here: a trace holds its hash, and never the code",
            hint="bring the text first: fs.remember_llvm(text), with the very text that was imported",
        )
    return _texts[name]
