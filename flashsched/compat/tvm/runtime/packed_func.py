"""Python functions that programs call by name: ``@tvm.register_func("name")``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flashsched.errors import KernelError, did_you_mean

__all__ = ["PackedFunc", "get_global_func", "list_global_func_names", "register_func", "remove_global_func"]


class PackedFunc:
    """A function that a program, or Python, can call."""

    def __init__(self, function: Callable[..., Any], name: str = "") -> None:
        self.function = function
        self.name = name or getattr(function, "__name__", "function")
        self.__doc__ = function.__doc__

    def __call__(self, *args: Any) -> Any:
        return self.function(*args)

    def __repr__(self) -> str:
        return f"PackedFunc({self.name})"


_functions: dict[str, PackedFunc] = {}


def register_func(func_name: Any, f: Any = None, override: bool = False) -> Any:
    """Register *f* under a name; a decorator where *f* is left out, and under its own name where that is all there is.

    Raises:
        KernelError: the name is taken, and *override* is not asked for.
    """
    if callable(func_name):
        func_name, f = func_name.__name__, func_name

    def register(function: Any) -> Any:
        if func_name in _functions and not override:
            raise KernelError(
                f"a function named {func_name!r} is registered already", hint="register it with override=True"
            )
        packed = function if isinstance(function, PackedFunc) else PackedFunc(function, func_name)
        _functions[func_name] = packed
        return function

    return register(f) if f is not None else register


def get_global_func(name: str, allow_missing: bool = False) -> Any:
    """The function registered under *name*; None where there is none and *allow_missing*.

    Raises:
        KernelError: there is none.
    """
    if name not in _functions:
        from flashsched.compat.tvm import contrib

        contrib.register_packed(name)  # those of contrib are registered when they are first asked for
    if name in _functions or allow_missing:
        return _functions.get(name)
    raise KernelError(
        f"no function is registered as {name!r}; {did_you_mean(name, _functions)}",
        hint=f'register one: @tvm.register_func("{name}")',
    )


def list_global_func_names() -> list[str]:
    """The names of all registered functions."""
    return sorted(_functions)


def remove_global_func(name: str) -> None:
    """Forget the function registered under *name*."""
    _functions.pop(name, None)
