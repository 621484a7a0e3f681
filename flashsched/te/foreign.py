"""Functions from elsewhere as expressions: of the C library, of imported LLVM text, LLVM's own, or a user's.

Apart from `flashsched.te.functions`, whose functions the compiler knows by heart: here a name stands for a symbol that
is looked up when a kernel is built, and for a Python function that says what it means to the oracles.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flashsched.errors import ArgumentError, DtypeError, ExpressionError, UnknownNameError, did_you_mean
from flashsched.te import dtypes
from flashsched.te.expr import Expr, ExprLike, as_expr, cast

__all__ = [
    "CALLABLE",
    "Foreign",
    "call_extern",
    "call_intrin",
    "call_llvm_intrin",
    "call_pure_extern",
    "register_intrin",
]

CALLABLE: Mapping[str, Any] = MappingProxyType(
    {"float32": ctypes.c_float, "float64": ctypes.c_double, "int32": ctypes.c_int32, "int64": ctypes.c_int64}
)
"""The dtypes that a foreign function may take and give, with their C types."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Foreign(Expr):
    """A call of *symbol*, a C function or (``llvm.…``) an intrinsic of LLVM, with *args*.

    *name* is what a user called it, *text* the LLVM text that defines it, where it was registered with one. A call that
    is not *pure* is made once for each element that is computed, and for no other; but a schedule decides how often and
    in which order elements are computed.
    """

    name: str
    symbol: str
    args: tuple[Expr, ...]
    dtype: str
    pure: bool = True
    code: str | None = None

    @property
    def children(self) -> tuple[Expr, ...]:
        return self.args

    def rebuild(self, children: Sequence[Expr]) -> Expr:
        return Foreign(self.name, self.symbol, tuple(children), self.dtype, self.pure, self.code)

    def key(self) -> tuple[Any, ...]:
        return (self.name, self.symbol, self.dtype, self.pure, self.code)

    def text(self, args: Sequence[str]) -> str:
        """The call as it is printed, around its printed arguments."""
        return f"{self.name}({', '.join(args)})"

    def meaning(self) -> Callable[..., Any]:
        """A function of NumPy arrays that computes it.

        Raises:
            ExpressionError: nothing says what it means: it is no function of this process, and was not registered.
        """
        if self.name in _REGISTERED:
            return _REGISTERED[self.name].meaning
        if self.symbol.startswith("llvm."):
            known = _LLVM.get(self.symbol.split(".")[1])
            if known is not None:
                return known
        else:
            found = _in_process(self.symbol, self.dtype, tuple(arg.dtype for arg in self.args))
            if found is not None:
                return found
        raise ExpressionError(
            f"what {self.symbol}() computes is not known here, so it can't be evaluated without being compiled",
            hint=f"say what it means: te.register_intrin({self.name!r}, a function of NumPy arrays, …)",
        )


@dataclass(frozen=True, slots=True)
class _Registered:
    meaning: Callable[..., Any]
    symbols: Mapping[str, str]


_REGISTERED: dict[str, _Registered] = {}

_LLVM: dict[str, Callable[..., Any]] = {
    "fma": lambda a, b, c: _fused(a, b, c), "fmuladd": lambda a, b, c: _fused(a, b, c), "sqrt": np.sqrt,
    "fabs": np.abs, "floor": np.floor, "ceil": np.ceil, "trunc": np.trunc, "rint": np.rint, "nearbyint": np.rint,
    "roundeven": np.rint, "copysign": np.copysign, "minnum": np.fmin, "maxnum": np.fmax, "minimum": np.minimum,
    "maximum": np.maximum, "smin": np.minimum, "smax": np.maximum, "ctpop": lambda x: np.bitwise_count(x),
}  # fmt: skip


def _fused(a: Any, b: Any, c: Any) -> Any:
    """a * b + c in a wider format, which for float32 is rounded once but for rare ties; float64 as wide as there is."""
    wide = np.float64 if np.asarray(a).dtype == np.float32 else np.longdouble
    return np.asarray(a, wide) * np.asarray(b, wide) + np.asarray(c, wide)


@functools.cache
def _libraries() -> tuple[ctypes.CDLL, ...]:
    found = [ctypes.CDLL(None)]
    for name in ("libm.so.6", "libm.dylib"):
        try:
            found.append(ctypes.CDLL(name))
        except OSError:
            continue
    return tuple(found)


@functools.lru_cache(maxsize=256)
def _in_process(symbol: str, result: str, params: tuple[str, ...]) -> Callable[..., Any] | None:
    for library in _libraries():
        if hasattr(library, symbol):
            address = ctypes.cast(getattr(library, symbol), ctypes.c_void_p).value
            kind = ctypes.CFUNCTYPE(CALLABLE[result], *(CALLABLE[param] for param in params))
            assert address is not None
            function = kind(address)
            python = [dtypes.numpy_dtype(param).type for param in params]

            def one(*args: Any, function: Any = function, python: Any = python) -> Any:
                return function(*(make(arg).item() for make, arg in zip(python, args, strict=True)))

            return _elementwise(one, len(params), result)
    return None


def _elementwise(function: Callable[..., Any], count: int, result: str) -> Callable[..., Any]:
    if count == 0:
        return lambda: np.asarray(function(), dtypes.numpy_dtype(result))
    many = np.frompyfunc(function, count, 1)

    def run(*args: Any) -> NDArray[Any]:
        return np.asarray(many(*args)).astype(dtypes.numpy_dtype(result))

    return run


def _made(name: str, symbol: str, args: Sequence[Any], dtype: Any, pure: bool, code: str | None = None) -> Expr:
    result = dtypes.check_dtype(dtype)
    values = tuple(_argument(arg, result) for arg in args)
    for value in (result, *(value.dtype for value in values)):
        if value not in CALLABLE:
            raise DtypeError(
                f"{name}() with {value}: a foreign function takes and gives {', '.join(CALLABLE)}",
                hint="cast it: x.astype('float32'), and the result back",
            )
    return Foreign(name, symbol, values, result, pure, code)


def _argument(arg: Any, dtype: str) -> Expr:
    """A Python number takes the dtype of the result where it fits that, as literals do elsewhere."""
    number = isinstance(arg, int | float) and not isinstance(arg, bool)
    like = dtype if number and (dtypes.is_float(dtype) or isinstance(arg, int)) else None
    return as_expr(arg, like)


def call_pure_extern(dtype: Any, symbol: str, *args: ExprLike) -> Expr:
    """The C function *symbol* of *args*, giving *dtype*; its value depends on nothing else, and it changes nothing.

    The symbol is looked up when a kernel is built: in the LLVM text that the schedule imports (``import_llvm``), then
    in this process (the C library, libm, what was loaded with ``ctypes.RTLD_GLOBAL``). In a vector loop it is called
    lane by lane.

    >>> from flashsched import te
    >>> A = te.placeholder((4,), name="A")
    >>> te.compute((4,), lambda i: te.call_pure_extern("float32", "expf", A[i]), name="E").op.body[0]
    expf(A[i])

    Raises:
        DtypeError: an argument or the result is none of `CALLABLE`.
    """
    return _made(symbol, _symbol(symbol), args, dtype, True)


def call_extern(dtype: Any, symbol: str, *args: ExprLike) -> Expr:
    """As `call_pure_extern`, of a function that may also do something: it is called just where an element is computed.

    How often and in which order is the schedule's choice, so what it does should not matter to the result.
    """
    return _made(symbol, _symbol(symbol), args, dtype, False)


def call_llvm_intrin(dtype: Any, name: str, *args: ExprLike) -> Expr:
    """LLVM's intrinsic *name*, e.g. ``"llvm.fma.f32"``, of *args*.

    The name carries the scalar type; in a vector loop that of the vector takes its place, where the intrinsic works
    element by element.

    Raises:
        ArgumentError: *name* does not begin with ``llvm.``.
        DtypeError: an argument or the result is none of `CALLABLE`.
    """
    if not name.startswith("llvm."):
        raise ArgumentError(f"{name!r} is no intrinsic of LLVM", hint="they are named like 'llvm.fma.f32'")
    return _made(name, _symbol(name), args, dtype, True)


def register_intrin(name: str, meaning: Callable[..., Any], symbols: Mapping[str, str]) -> None:
    """Make *name* a function for `call_intrin`.

    >>> import numpy as np
    >>> from flashsched import te
    >>> te.register_intrin("mylog", np.log, {"float32": "logf", "float64": "log"})
    >>> A = te.placeholder((4,), name="A")
    >>> te.compute((4,), lambda i: te.call_intrin("float32", "mylog", A[i]), name="L").op.body[0]
    mylog(A[i])

    Args:
        name: what it is called in expressions; another meaning of that name gives way.
        meaning: a function of NumPy arrays, element by element: what the oracles compute.
        symbols: for each dtype of the result the C function, LLVM's intrinsic (``llvm.…``), or LLVM text that defines
            one function.

    Raises:
        ArgumentError: *symbols* is empty.
    """
    if not symbols:
        raise ArgumentError(f"{name} has no symbol for any dtype", hint='e.g. {"float32": "logf"}')
    for dtype in symbols:
        dtypes.check_dtype(dtype)
    _REGISTERED[name] = _Registered(meaning, MappingProxyType(dict(symbols)))


def call_intrin(dtype: Any, name: str, *args: ExprLike) -> Expr:
    """The function *name*, which `register_intrin` made, of *args*, giving *dtype*.

    Raises:
        UnknownNameError: there is none of that name.
        DtypeError: it has no symbol for *dtype*.
    """
    if name not in _REGISTERED:
        raise UnknownNameError(f"no function {name!r} is registered", hint=did_you_mean(name, _REGISTERED) or None)
    result, symbols = dtypes.check_dtype(dtype), _REGISTERED[name].symbols
    if result not in symbols:
        raise DtypeError(f"{name}() giving {result}: it is registered for {', '.join(symbols)}", hint="cast")
    found = symbols[result]
    code = found if "define " in found else None
    symbol = f"fs.foreign.{name}.{result}" if code else _symbol(found)
    return _made(name, symbol, [cast(as_expr(arg, result), result) for arg in args], result, True, code)


def _symbol(name: str) -> str:
    if not name or not all(c.isalnum() or c in "._$" for c in name) or name[0].isdigit():
        raise ArgumentError(f"{name!r} is no symbol", hint="letters, digits, '_', '.' and '$'")
    return name
