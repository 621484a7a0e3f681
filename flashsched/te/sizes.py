"""Sizes that are known only when arrays are at hand: finding them in shapes, inferring them, putting numbers in.

A dimension is an int, or an expression of `SizeVar` variables, which `te.var` makes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TypeAlias

from flashsched.errors import ShapeError
from flashsched.te import dtypes
from flashsched.te.expr import Const, Expr, SizeVar, as_expr
from flashsched.te.simplify import simplify
from flashsched.te.visit import substitute, walk

__all__ = [
    "Shape",
    "Size",
    "Sizes",
    "alike",
    "as_size",
    "extent_expr",
    "infer_sizes",
    "is_static",
    "numbers",
    "rounded_up",
    "size_text",
    "size_value",
    "sizes_in",
]

Size: TypeAlias = "int | Expr"
"""The elements of one dimension: a number, or an expression of sizes."""
Shape: TypeAlias = tuple[Size, ...]
Sizes: TypeAlias = Mapping[SizeVar, int]
"""Numbers for sizes."""


def as_size(value: Size) -> Size:
    """*value* simplified, as an int where it is a number."""
    if isinstance(value, int):
        return value
    simple = simplify(value)
    return int(simple.value) if isinstance(simple, Const) else simple


def rounded_up(size: Size, number: int) -> Size:
    """The least multiple of *number* that is no less than *size*.

    >>> rounded_up(13, 4)
    16
    """
    if isinstance(size, int):
        return -(-size // number) * number
    return size if number == 1 else as_size((size + (number - 1)) // number * number)


def alike(a: Sequence[Size], b: Sequence[Size]) -> bool:
    """Whether two shapes are the same whatever the sizes are."""
    apart = (as_size(extent_expr(x) - extent_expr(y)) for x, y in zip(a, b, strict=False))
    return len(a) == len(b) and all(isinstance(gap, int) and gap == 0 for gap in apart)


def is_static(shape: Sequence[Size]) -> bool:
    """Whether all dimensions are numbers."""
    return all(isinstance(size, int) for size in shape)


def numbers(shape: Sequence[Size], what: str) -> tuple[int, ...]:
    """*shape*, which must be numbers.

    Raises:
        ShapeError: a dimension is an expression; the message speaks of *what* needs to know it.
    """
    found = tuple(size for size in shape if isinstance(size, int))
    if len(found) < len(shape):
        names = ", ".join(var.name for var in sizes_in(shape))
        raise ShapeError(
            f"{what} needs sizes that are numbers, and the shape [{', '.join(map(str, shape))}] speaks of {names}",
            hint="bind them: s.bind_sizes({n: 512}) for a schedule, te.bind_sizes(C, {n: 512}) for a program",
        )
    return found


def sizes_in(values: Iterable[Size]) -> tuple[SizeVar, ...]:
    """The sizes that *values* speak of, in the order in which they first do."""
    found = dict.fromkeys(
        node for value in values if not isinstance(value, int) for node in walk(value) if isinstance(node, SizeVar)
    )
    return tuple(found)


def size_value(size: Size, sizes: Sizes) -> int:
    """The number that *size* is where the sizes are *sizes*.

    Raises:
        ShapeError: a size has no number there, or the expression divides by zero.
    """
    if isinstance(size, int):
        return size
    if isinstance(size, SizeVar) and size in sizes:
        return sizes[size]
    value = simplify(substitute(size, {var: Const(number, dtypes.INDEX) for var, number in sizes.items()}))
    if not isinstance(value, Const):
        names = ", ".join(var.name for var in sizes_in((value,)))
        raise ShapeError(f"size {names} is not known in {size}", hint="give all sizes of the program a number")
    return int(value.value)


def size_text(shape: Sequence[Size], sizes: Sizes) -> str:
    """*shape* in words, with what its expressions come to: ``[n + 1 = 9, 4]``."""
    known = [str(s) if isinstance(s, int) else f"{s} = {size_value(s, sizes)}" for s in shape]
    return f"[{', '.join(known)}]"


def infer_sizes(
    arrays: Iterable[tuple[str, Shape, Sequence[int]]],
    wanted: Iterable[SizeVar] = (),
    told: Sizes = MappingProxyType({}),
) -> dict[SizeVar, int]:
    """The sizes, from what arrays are declared to be and are: a dimension that is a plain size says what it is.

    Args:
        arrays: the name, the declared and the true shape of each array; a wrong rank is left to the caller.
        wanted: sizes that must be known afterwards.
        told: sizes that are passed themselves.

    Raises:
        ShapeError: two arrays contradict each other, or a size is the whole dimension of none.
    """
    arrays = tuple(arrays)
    found: dict[SizeVar, int] = dict(told)
    source: dict[SizeVar, str] = dict.fromkeys(told, "what is passed for it")
    for name, declared, true in arrays:
        for position, (size, number) in enumerate(zip(declared, true, strict=False)):
            if not isinstance(size, SizeVar):
                continue
            if found.setdefault(size, int(number)) != number:
                raise ShapeError(
                    f"size {size.name} is {found[size]} by {source[size]}, and {number} by dimension {position} of "
                    f"{name}",
                    hint=f"pass arrays that agree on {size.name}",
                )
            source.setdefault(size, f"dimension {position} of {name}")
    for var in dict.fromkeys((*wanted, *(var for _, declared, _ in arrays for var in sizes_in(declared)))):
        if var not in found:
            raise ShapeError(
                f"size {var.name} can't be told from the arrays: no array given has it as a dimension of its own",
                hint=f"a dimension that is {var.name} alone, and not an expression of it, says what it is; or pass "
                f"it: fs.build(s, [{var.name}, …])",
            )
    return found


def extent_expr(size: Size) -> Expr:
    """*size* as an index expression."""
    return as_expr(size, dtypes.INDEX)
