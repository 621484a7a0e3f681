"""Calls from Python that cost a tenth of a microsecond: functions of the interpreter's own kind over machine code.

`python_entry.ll` is what such a function runs; this file compiles it once in a process, lays out the table that it
reads for each kernel, and makes the function object. Where that is not to be had, `reason` says why, and kernels are
called through ctypes, which is the same in all but time.

What a table says is what `flashsched.codegen.signature` says of a call, as far as it is plain: arrays of NumPy's, whole
and contiguous, of the kernel's shapes and dtypes. All else is left to `flashsched.codegen.caller`.
"""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flashsched.codegen.arrays import fresh_array
from flashsched.codegen.repeat import repeater
from flashsched.codegen.signature import CONTIGUOUS, Param, flags_of
from flashsched.te.dtypes import bits, numpy_dtype
from flashsched.te.expr import SizeVar, Var
from flashsched.te.sizes import numbers

if TYPE_CHECKING:
    from flashsched.codegen.caller import Caller

__all__ = ["bound_function_for", "function_for", "reason"]

_HEADER = object.__basicsize__
_FIELDS = {"TYPE": -8, "DATA": 0, "RANK": 8, "DIMENSIONS": 16, "DTYPE": 40, "FLAGS": 48}
"""Where an array object has what, counted from the end of the object header. Every extension that was compiled against
NumPy has these numbers in it, so they can't change without all of those; `_misread` looks whether they hold here."""

_API = (
    "PyEval_RestoreThread",
    "PyEval_SaveThread",
    "PyFloat_AsDouble",
    "PyLong_AsVoidPtr",
    "PyObject_CallNoArgs",
    "PyObject_Vectorcall",
    "PyTuple_GetItem",
    "PyTuple_New",
    "PyTuple_SetItem",
    "Py_DecRef",
    "Py_IncRef",
)
_FASTCALL, _NOARGS = 0x80, 0x4  # METH_FASTCALL and METH_NOARGS


class _Table(ctypes.Structure):
    """%Table of python_entry.ll."""

    _fields_ = (
        ("code", ctypes.c_void_p),
        ("repeat", ctypes.c_void_p),
        ("otherwise", ctypes.c_void_p),
        ("params", ctypes.c_void_p),
        ("pairs", ctypes.c_void_p),
        ("arrays", ctypes.c_int64),
        ("inputs", ctypes.c_int64),
        ("sizes", ctypes.c_int64),
        ("pair_count", ctypes.c_int64),
        ("keeps_gil", ctypes.c_int64),
    )


class _Param(ctypes.Structure):
    """%Param of python_entry.ll."""

    _fields_ = (
        ("dtype", ctypes.c_void_p),
        ("dimensions", ctypes.c_void_p),
        ("fresh", ctypes.c_void_p),
        ("rank", ctypes.c_int64),
        ("flags", ctypes.c_int32),
        ("itemsize", ctypes.c_int64),
        ("float_bits", ctypes.c_int64),
    )


class _Bound(ctypes.Structure):
    """%Bound of python_entry.ll."""

    _fields_ = (
        ("code", ctypes.c_void_p),
        ("repeat", ctypes.c_void_p),
        ("otherwise", ctypes.c_void_p),
        ("words", ctypes.c_void_p),
        ("result", ctypes.c_void_p),
        ("count", ctypes.c_int64),
        ("keeps_gil", ctypes.c_int64),
    )


class _Method(ctypes.Structure):
    """PyMethodDef of CPython's stable ABI."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


def reason() -> str | None:
    """Why calls go through ctypes in this process; None where they do not."""
    if sys.implementation.name != "cpython":
        return f"functions are made in CPython's way, and this is {sys.implementation.name}"
    missing = [name for name in _API if not hasattr(ctypes.pythonapi, name)]
    if missing:
        return f"this Python lacks {', '.join(missing)}"
    return _misread()


@functools.cache
def _misread() -> str | None:
    """What arrays of this NumPy do not hold where they should; None where all is as it should be."""
    for array in (np.zeros((2, 3), np.float32), np.zeros((4, 5, 6), np.int8)[:, ::2], np.zeros((), np.float64)):
        expected = {
            "TYPE": id(np.ndarray),
            "DATA": array.ctypes.data,
            "RANK": array.ndim,
            "DTYPE": id(array.dtype),
            "FLAGS": array.flags.num,
        }
        for field, value in expected.items():
            kind = ctypes.c_int32 if field in ("RANK", "FLAGS") else ctypes.c_size_t
            if kind.from_address(id(array) + _HEADER + _FIELDS[field]).value != value:
                return f"NumPy {np.__version__} lays arrays out in another way ({field.lower()})"
        dimensions = ctypes.c_void_p.from_address(id(array) + _HEADER + _FIELDS["DIMENSIONS"]).value
        if array.ndim and tuple((ctypes.c_int64 * array.ndim).from_address(dimensions or 0)) != array.shape:
            return f"NumPy {np.__version__} lays arrays out in another way (dimensions)"
    return None


def function_for(caller: Caller, otherwise: Callable[..., Any] | None = None) -> Callable[..., Any] | None:
    """A function that calls what *caller* calls, and leaves to it what is not plain; None where nothing would be.

    What is not plain goes to *otherwise*, with the same arguments, if that is given.
    """
    if not _is_plain(caller) or reason() is not None:
        return None
    sizes = caller.scalars
    params, kept = (_Param * len(caller.params))(), []
    for into, param in zip(params, caller.params, strict=True):
        kept.append(_describe(into, param, sizes))
    pairs = _pairs(caller.params)
    flat = (ctypes.c_int64 * max(2 * len(pairs), 1))(*(place for pair in pairs for place in pair))
    table = _Table(
        caller.module.address(caller.name),
        _repeat(caller),
        id(caller if otherwise is None else otherwise),
        ctypes.addressof(params),
        ctypes.addressof(flat),
        len(params),
        caller.inputs,
        len(sizes),
        len(pairs),
        caller.brief,
    )
    return _function("fs_call", caller.name, _FASTCALL, table, (caller, otherwise, params, kept, flat))


def bound_function_for(
    caller: Caller, words: Sequence[int], result: Any, arrays: Sequence[Any], otherwise: Callable[[], Any]
) -> Callable[[], Any] | None:
    """A function that runs *caller*'s machine code on *words* and returns *result*.

    Args:
        caller: what calls the kernel.
        words: pointers and numbers that the code takes.
        result: what is returned.
        arrays: what the pointers point to.
        otherwise: what is called where the kernel could not have memory.
    """
    if caller.externs is not None or reason() is not None:
        return None
    given = (ctypes.c_int64 * max(len(words), 1))(*words)
    table = _Bound(
        caller.module.address(caller.name),
        _repeat(caller),
        id(otherwise),
        ctypes.addressof(given),
        id(result),
        len(words),
        caller.brief,
    )
    return _function("fs_call_bound", caller.name, _NOARGS, table, (caller, given, result, arrays, otherwise))


def _is_plain(caller: Caller) -> bool:
    """Whether there are calls of *caller* that nothing has to be worked out for but sizes that stand in a shape."""
    sizes = set(caller.scalars)
    return (
        caller.plain
        and caller.module.jitted
        and caller.externs is None
        and not caller.passed
        and not caller.needs
        and all(isinstance(size, SizeVar) for size in sizes)
        and all(isinstance(size, int) or size in sizes for param in caller.params for size in param.shape)
    )


def _describe(into: _Param, param: Param, sizes: Sequence[Var]) -> tuple[Any, ...]:
    """Fill a table's row, and return what must live as long as it."""
    dtype = numpy_dtype(param.dtype)
    wanted = [size if isinstance(size, int) else -1 - _place(size, sizes) for size in param.shape]
    dimensions = (ctypes.c_int64 * max(len(wanted), 1))(*wanted)
    fresh = functools.partial(fresh_array, numbers(param.shape, param.name), dtype) if not sizes else None
    into.dtype, into.dimensions, into.fresh = id(dtype), ctypes.addressof(dimensions), id(fresh)
    into.rank, into.flags, into.itemsize = len(wanted), flags_of(param), dtype.itemsize
    into.float_bits = bits(param.dtype) if param.by_value and param.dtype in ("float32", "float64") else 0
    assert into.flags & CONTIGUOUS
    return dtype, dimensions, fresh


def _place(size: Any, sizes: Sequence[Var]) -> int:
    return next(n for n, known in enumerate(sizes) if known is size)


def _pairs(params: Sequence[Param]) -> list[tuple[int, int]]:
    """Each output with each array that it must not share memory with."""
    return [
        (output, other)
        for output in range(len(params))
        for other in range(len(params))
        if params[output].is_output and (other < output or (other > output and not params[other].is_output))
    ]


def _repeat(caller: Caller) -> int:
    run = repeater(len(caller.params), len(caller.scalars), caller.may_lack_memory, caller.module.target)
    return int(run.module.address("repeat"))


def _function(entry: str, name: str, flags: int, table: ctypes.Structure, kept: tuple[Any, ...]) -> Callable[..., Any]:
    """A function object that runs *entry* on *table*. All that either has the address of lives as long as it does."""
    signature = "($self, /, *args)" if flags == _FASTCALL else "($self, /)"
    method = _Method(name.encode(), _entries()[entry], flags, f"{name}{signature}\n--\n\nRun the kernel.".encode())
    holder = (ctypes.addressof(table), table, method, kept)
    make = ctypes.pythonapi.PyCFunction_NewEx
    make.restype, make.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p)
    made: Callable[..., Any] = make(ctypes.addressof(method), holder, None)
    return made


@functools.cache
def _entries() -> Mapping[str, int]:
    """The compiled functions of python_entry.ll, by name; never unloaded."""
    from flashsched.codegen import llvm, object_cache
    from flashsched.codegen.target import host_target

    target = host_target()
    text = Path(__file__).with_name("python_entry.ll").read_text(encoding="utf-8")
    for field, place in _FIELDS.items():
        text = text.replace(f"@{field}@", str(_HEADER + place))
    code, _ = object_cache.object_code(text, target)
    symbols = {name: ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value or 0 for name in _API}
    loaded = llvm.load_object(code, text, {**symbols, "fs_ndarray": id(np.ndarray), "fs_float": id(float)})
    loaded.pin()
    return loaded.addresses
