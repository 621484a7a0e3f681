"""Operations that move elements about."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from flashsched.compat.tvm.te.tensor import Tensor, compute
from flashsched.compat.tvm.tir import op as tir
from flashsched.compat.tvm.topi import tag
from flashsched.compat.tvm.topi.broadcast import at, broadcast_shape
from flashsched.errors import ShapeError

__all__ = [
    "arange", "concatenate", "expand_dims", "flip", "layout_transform", "one_hot", "repeat", "reshape", "split",
    "squeeze", "stack", "strided_slice", "take", "tile", "transpose", "where",
]  # fmt: skip


def _axis(axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        raise ShapeError(f"axis {axis} of {rank} dimensions")
    return axis % rank


def transpose(a: Tensor, axes: Sequence[int] | None = None) -> Any:
    """The dimensions in another order, reversed by default."""
    order = [_axis(int(n), a.ndim) for n in axes] if axes else list(reversed(range(a.ndim)))
    if sorted(order) != list(range(a.ndim)):
        raise ShapeError(f"transpose: {list(order)} is no order of {a.ndim} dimensions")

    def element(*i: Any) -> Any:
        return a(*(i[order.index(n)] for n in range(a.ndim)))

    return compute([a.shape[n] for n in order], element, name="T_transpose", tag=tag.INJECTIVE)


def reshape(a: Tensor, newshape: Any) -> Any:
    """The same elements, row by row, in another shape; one size may be -1."""
    sizes = [int(n) for n in (newshape if isinstance(newshape, tuple | list) else [newshape])]
    count = math.prod(map(int, a.shape))
    if sizes.count(-1) == 1:
        rest = -math.prod(sizes)
        sizes[sizes.index(-1)] = count // rest if rest else 0
    if math.prod(sizes) != count or min(sizes, default=0) < 0:
        raise ShapeError(f"reshape of {list(a.shape)} to {newshape}: {count} elements do not fit")

    def element(*i: Any) -> Any:
        flat: Any = 0
        for index, size in zip(i, sizes, strict=True):
            flat = flat * size + index
        at_: list[Any] = []
        for size in reversed([int(n) for n in a.shape]):
            at_.append(flat % max(size, 1))
            flat = flat // max(size, 1)
        return a(*reversed(at_))

    return compute(sizes, element, name="T_reshape", tag=tag.INJECTIVE)


def expand_dims(a: Tensor, axis: int, num_newaxis: int = 1) -> Any:
    """New dimensions of size 1 before *axis*."""
    place = _axis(axis, a.ndim + 1)
    shape = [*a.shape[:place], *[1] * num_newaxis, *a.shape[place:]]
    return compute(shape, lambda *i: a(*i[:place], *i[place + num_newaxis :]), name="T_expand_dims", tag=tag.BROADCAST)


def squeeze(a: Tensor, axis: Any = None) -> Any:
    """Without the dimensions of size 1 (those of *axis*)."""
    chosen = [axis] if isinstance(axis, int) else axis
    gone = [n for n, size in enumerate(a.shape) if size == 1] if chosen is None else [_axis(n, a.ndim) for n in chosen]
    if any(a.shape[n] != 1 for n in gone):
        raise ShapeError(f"squeeze of {list(a.shape)}: not all of {gone} have size 1")
    kept = [n for n in range(a.ndim) if n not in gone]

    def element(*i: Any) -> Any:
        return a(*(i[kept.index(n)] if n in kept else 0 for n in range(a.ndim)))

    return compute([a.shape[n] for n in kept], element, name="T_squeeze", tag=tag.INJECTIVE)


def concatenate(a_tuple: Sequence[Tensor], axis: int = 0) -> Any:
    """Tensors one behind the other along *axis*."""
    parts = list(a_tuple)
    place = _axis(axis, parts[0].ndim)
    for part in parts:
        if [*part.shape[:place], *part.shape[place + 1 :]] != [*parts[0].shape[:place], *parts[0].shape[place + 1 :]]:
            raise ShapeError(f"concatenate at {axis}: {', '.join(str(list(p.shape)) for p in parts)} do not fit")
    shape = list(parts[0].shape)
    shape[place] = sum(part.shape[place] for part in parts)

    def element(*i: Any) -> Any:
        end = shape[place]
        value: Any = None
        for part in reversed(parts):
            begin = end - part.shape[place]
            own = part(*i[:place], i[place] - begin, *i[place + 1 :])
            value = own if value is None else tir.if_then_else(i[place] >= end, value, own)
            end = begin
        return value

    return compute(shape, element, name="T_concat", tag=tag.INJECTIVE)


def stack(a: Sequence[Tensor], axis: int = 0) -> Any:
    """Tensors of one shape along a new dimension."""
    place = _axis(axis, a[0].ndim + 1)
    return concatenate([expand_dims(part, place) for part in a], place)


def split(ary: Tensor, indices_or_sections: Any, axis: int = 0) -> list[Any]:
    """The parts of *ary* along *axis*: that many alike, or cut at these indices."""
    place = _axis(axis, ary.ndim)
    size = int(ary.shape[place])
    if isinstance(indices_or_sections, int):
        if size % indices_or_sections:
            raise ShapeError(f"split of {size} elements into {indices_or_sections} parts")
        cuts = [n * (size // indices_or_sections) for n in range(1, indices_or_sections)]
    else:
        cuts = [int(n) for n in indices_or_sections]
    bounds = list(zip([0, *cuts], [*cuts, size], strict=True))
    begins, ends = [[0] * ary.ndim for _ in bounds], [list(map(int, ary.shape)) for _ in bounds]
    for n, (begin, end) in enumerate(bounds):
        begins[n][place], ends[n][place] = begin, end
    return [strided_slice(ary, begin, end) for begin, end in zip(begins, ends, strict=True)]


def strided_slice(a: Tensor, begin: Any, end: Any, strides: Any = None, axes: Any = None) -> Any:
    """``a[begin:end:strides]`` in each dimension (of *axes*)."""
    over = list(range(len(begin))) if axes is None else [_axis(n, a.ndim) for n in axes]
    steps = list(strides) if strides else [1] * len(over)
    ranges = [range(int(size)) for size in a.shape]
    for n, first, last, step in zip(over, begin, end, steps, strict=True):
        ranges[n] = ranges[n][slice(int(first), None if last is None else int(last), int(step))]

    def element(*i: Any) -> Any:
        return a(*(index * part.step + part.start for index, part in zip(i, ranges, strict=True)))

    return compute([len(part) for part in ranges], element, name="T_strided_slice", tag=tag.INJECTIVE)


def take(a: Tensor, indices: Tensor, axis: int | None = None, batch_dims: int = 0, mode: str = "clip") -> Any:
    """The elements of *a* (flat, or along *axis*) at *indices*, those outside held to the ends, or wrapped around."""
    if batch_dims:
        raise NotImplementedError("take(batch_dims=…) is not there")
    if mode not in ("clip", "wrap"):
        raise NotImplementedError(f"take(mode={mode!r}) is not there: clip or wrap")
    source = reshape(a, (-1,)) if axis is None else a
    place = 0 if axis is None else _axis(axis, a.ndim)
    size = int(source.shape[place])

    def element(*i: Any) -> Any:
        where = indices(*i[place : place + indices.ndim])
        from flashsched import te

        held = where % size if mode == "wrap" else te.clip(where, 0, size - 1)
        return source(*i[:place], held, *i[place + indices.ndim :])

    shape = [*source.shape[:place], *indices.shape, *source.shape[place + 1 :]]
    return compute(shape, element, name="T_take", tag=tag.INJECTIVE)


def tile(a: Tensor, reps: Sequence[int]) -> Any:
    """*a* repeated as a whole, that often in each dimension."""
    times = [1] * (a.ndim - len(reps)) + list(reps)
    sizes = [1] * (len(times) - a.ndim) + [int(size) for size in a.shape]

    def element(*i: Any) -> Any:
        return a(*(index % size for index, size in zip(i[len(i) - a.ndim :], a.shape, strict=True)))

    return compute([n * size for n, size in zip(times, sizes, strict=True)], element, name="T_tile", tag=tag.BROADCAST)


def repeat(a: Tensor, repeats: int, axis: int = 0) -> Any:
    """Each element *repeats* times along *axis*."""
    place = _axis(axis, a.ndim)
    shape = [size * (repeats if n == place else 1) for n, size in enumerate(a.shape)]
    return compute(
        shape, lambda *i: a(*i[:place], i[place] // repeats, *i[place + 1 :]), name="T_repeat", tag=tag.BROADCAST
    )


def flip(a: Tensor, axis: int = 0) -> Any:
    """The elements along *axis* from the last to the first."""
    place = _axis(axis, a.ndim)
    last = int(a.shape[place]) - 1
    return compute(
        a.shape, lambda *i: a(*i[:place], last - i[place], *i[place + 1 :]), name="T_flip", tag=tag.INJECTIVE
    )


def where(condition: Tensor, x: Tensor, y: Tensor) -> Any:
    """*x* where *condition* is not zero, else *y*; broadcast."""
    shape = broadcast_shape(condition.shape, x.shape, y.shape)
    return compute(
        shape, lambda *i: tir.if_then_else(at(condition, i), at(x, i), at(y, i)), name="T_where", tag=tag.BROADCAST
    )


def arange(start: Any, stop: Any = None, step: Any = 1, dtype: str = "float32") -> Any:
    """The numbers from *start* to below *stop*."""
    begin, end = (0, start) if stop is None else (start, stop)
    count = max(0, math.ceil((end - begin) / step))
    return compute(
        (count,),
        lambda i: tir.const(begin, dtype) + i.astype(dtype) * tir.const(step, dtype),
        name="T_arange",
        tag=tag.INJECTIVE,
    )


def one_hot(indices: Tensor, on_value: Any, off_value: Any, depth: int, axis: int, dtype: str) -> Any:
    """*on_value* where a new dimension's index is the element of *indices*, else *off_value*."""
    place = indices.ndim if axis == -1 else _axis(axis, indices.ndim + 1)
    shape = [*indices.shape[:place], depth, *indices.shape[place:]]

    def element(*i: Any) -> Any:
        hot = indices(*i[:place], *i[place + 1 :]) == i[place]
        return tir.if_then_else(hot, tir.const(on_value, dtype), tir.const(off_value, dtype))

    return compute(shape, element, name="T_one_hot", tag=tag.INJECTIVE)


def layout_transform(array: Tensor, src_layout: str, dst_layout: str) -> Any:
    """The dimensions in another order, by their letters: ``"NCHW"`` to ``"NHWC"``.

    Raises:
        NotImplementedError: a layout has blocked dimensions, such as ``NCHW16c``.
    """
    if sorted(src_layout) != sorted(dst_layout) or not src_layout.isalpha():
        raise NotImplementedError(
            f"layout_transform from {src_layout} to {dst_layout} is not there: write the te.compute of it"
        )
    return transpose(array, [src_layout.index(letter) for letter in dst_layout])
