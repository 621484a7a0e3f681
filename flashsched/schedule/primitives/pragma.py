"""pragma: a word to lowering about a loop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from flashsched.errors import ArgumentError, UnknownNameError, did_you_mean
from flashsched.schedule.llvm_texts import PREFIX, llvm_text
from flashsched.schedule.nest import replace_loop
from flashsched.schedule.primitives.registry import Result, primitive
from flashsched.schedule.state import State, refuse

__all__ = ["PRAGMAS", "pragma"]

PRAGMAS: Mapping[str, str] = MappingProxyType(
    {
        "auto_unroll_max_step": (
            "write out the loops in it, itself included, that are plain and give at most so many stores"
        ),
        "unroll_explicit": "where false, LLVM writes out its unrolled loops and not lowering; the code is the same",
        "nontemporal": "whole vectors are stored past the caches, for arrays that are larger than they",
        "parallel_launch_point": "threads start here; every parallel loop does so, and may say it",
        "parallel_barrier_when_finish": "all threads end before what follows; every parallel loop does so",
        "import_llvm": "LLVM text whose functions the kernel may call (te.call_extern)",
    }
)
"""The pragmas, with what each asks for. The trace of ``import_llvm`` holds a hash of the text."""

_REFUSED = {
    "parallel_stride_pattern": "turns go to threads in stretches; split the loop and reorder to spread them",
    "debug_skip_region": "leaving something out would compute something else",
    "import_c": "compile the C code with clang -S -emit-llvm, and import_llvm the text",
    "unroll": "say s[C].unroll(loop)",
    "vectorize": "say s[C].vectorize(loop)",
    "tensorize": "say s[C].tensorize(loop, intrinsic)",
}


@primitive(on_loops=True)
def pragma(state: State, stage: str, loop: str, key: str, value: int | bool | str = True) -> Result:
    """Tell lowering *key* of *loop*; what is computed stays the same.

    ============================  =====  =======================================================================
    ``auto_unroll_max_step``      int    loops in it, itself too, that are serial, hold no loop that stays one,
                                         and give at most so many stores, are written out, innermost first
    ``unroll_explicit``           bool   false: LLVM writes out the unrolled loops in it, not lowering
    ``nontemporal``               true   stores of vectors in it, but to memory of the kernel's own, go past the
                                         caches: for outputs that are larger than these
    ``parallel_launch_point``     true   what every parallel loop does
    ``parallel_barrier_when_finish``  true   what every parallel loop does
    ``import_llvm``               text   its functions become the kernel's own, for `te.call_extern`
    ============================  =====  =======================================================================

    >>> from flashsched import te
    >>> A = te.placeholder((8,), name="A")
    >>> C = te.compute((8,), lambda i: A[i] + 1, name="C")
    >>> s = te.create_schedule(C)
    >>> outer, inner = s[C].split("i", factor=2)
    >>> s[C].pragma(outer, "auto_unroll_max_step", 4)
    >>> print(s)
    for i.o in range(4):  # auto_unroll_max_step=4
      for i.i in range(2):
        C(i=i.o * 2 + i.i):
          C[i] = A[i] + 1.0

    Raises:
        UnknownNameError: there is no such loop or pragma.
        ArgumentError: *value* is not one that the pragma takes.
        TraceError: a text is named by its hash, and this process has not seen it.
    """
    node = state.loop(stage, loop)
    if key in _REFUSED:
        refuse(state, f"pragma {key!r} is not for here", error=ArgumentError, loop=node.var, hint=_REFUSED[key])
    if key not in PRAGMAS:
        refuse(state, f"no pragma {key!r}", error=UnknownNameError, loop=node.var, hint=did_you_mean(key, PRAGMAS))
    wanted = _wanted(key, value)
    if wanted:
        refuse(state, f"pragma {key!r} takes {wanted}, got {value!r}", error=ArgumentError, loop=node.var)
    if key == "import_llvm":
        assert isinstance(value, str)
        llvm_text(value)
        return replace(state, imports=tuple(dict.fromkeys((*state.imports, value)))), ()
    notes = MappingProxyType({**node.notes, key: value})
    return state.with_body(replace_loop(state.body, node.var, lambda old: replace(old, notes=notes))), ()


def _wanted(key: str, value: Any) -> str | None:
    """What *key* takes, where *value* is no such thing."""
    if key == "import_llvm":
        fits, wanted = isinstance(value, str) and value.startswith(PREFIX), "LLVM text"
    elif key == "auto_unroll_max_step":
        fits, wanted = isinstance(value, int) and not isinstance(value, bool) and value >= 0, "a number of stores"
    elif key == "unroll_explicit":
        fits, wanted = isinstance(value, bool), "true or false"
    else:
        fits, wanted = value is True, "true: it can't be otherwise"
    return None if fits else wanted
