"""Foreign arrays as NumPy arrays: same memory, no copies, nothing lost."""

from __future__ import annotations

import ctypes
import gc
import sys
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashsched.codegen import arrays
from flashsched.codegen.arrays import borrow, element_strides, overlaps_itself
from flashsched.errors import KernelError

new_capsule = ctypes.pythonapi.PyCapsule_New
new_capsule.restype, new_capsule.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)


class Foreign:
    """A tensor of another library: memory described by DLPack's structures, filled in by hand."""

    def __init__(self, array: np.ndarray, code: int, bits: int, *, offset: int = 0, flags: int | None = None) -> None:
        shape = (ctypes.c_int64 * array.ndim)(*array.shape)
        strides = (ctypes.c_int64 * array.ndim)(*(step // array.itemsize for step in array.strides))
        tensor = arrays._Tensor(array.ctypes.data - offset, 1, 0, array.ndim, code, bits, 1, shape, strides, offset)
        self.flags = flags
        self.structure: Any = tensor if flags is None else arrays._Versioned(1, 0, None, None, flags, tensor)
        self.kept = (array, shape, strides)

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)

    def __dlpack__(self, max_version: Any = None) -> object:
        name = b"dltensor" if self.flags is None else b"dltensor_versioned"
        return new_capsule(ctypes.addressof(self.structure), name, None)


@pytest.mark.parametrize("flags", [None, 0])
def test_bfloat16_of_another_library(flags: int | None) -> None:
    mine = np.arange(6).reshape(2, 3).astype(ml_dtypes.bfloat16)
    seen = borrow(Foreign(mine.view(np.uint16), 4, 16, flags=flags))
    assert seen.dtype == ml_dtypes.bfloat16
    assert np.array_equal(seen, mine)
    seen[1, 2] = 9
    assert mine[1, 2] == 9


@given(st.data())
def test_any_view_is_seen_as_it_is(data: st.DataObject) -> None:
    whole = np.arange(7 * 6 * 5, dtype=np.int32).reshape(7, 6, 5)
    cuts = st.slices(5)
    view = whole[tuple(data.draw(cuts) for _ in range(3))].transpose(data.draw(st.permutations(range(3))))
    seen = borrow(Foreign(view, 0, 32, offset=data.draw(st.sampled_from([0, 64]))))
    assert np.array_equal(seen, view)
    if view.size:
        assert seen.strides == view.strides
        assert seen.ctypes.data == view.ctypes.data


def test_read_only_is_kept() -> None:
    seen = borrow(Foreign(np.zeros(3, np.float32), 2, 32, flags=1))
    assert not seen.flags.writeable


def test_the_owner_lives_as_long_as_the_view() -> None:
    array = np.arange(4.0)
    before = sys.getrefcount(array)
    seen = borrow(
        type("T", (), {"__dlpack__": lambda _, **k: array.__dlpack__(**k), "__dlpack_device__": lambda _: (1, 0)})()
    )
    assert sys.getrefcount(array) > before
    del seen
    gc.collect()
    assert sys.getrefcount(array) == before


def test_an_element_type_that_kernels_do_not_have() -> None:
    with pytest.raises(KernelError, match="of an element type that kernels do not have"):
        borrow(Foreign(np.zeros(3, np.int8), 9, 8))


def test_a_tensor_that_refuses_to_be_shared() -> None:
    class Grad:
        def __dlpack_device__(self) -> tuple[int, int]:
            return (1, 0)

        def __dlpack__(self, **_: Any) -> object:
            raise BufferError("requires grad")

    with pytest.raises(KernelError, match="is a Grad that cannot be shared: requires grad"):
        borrow(Grad())


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(-6, 6)), max_size=3))
def test_overlaps_itself_is_never_wrong_about_safety(axes: list[tuple[int, int]]) -> None:
    shape = [size for size, _ in axes]
    strides = [8 * step for _, step in axes]
    low = sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True) if stride < 0 and size)
    base = np.zeros(200)
    view = np.lib.stride_tricks.as_strided(base[-low // 8 :], shape, strides)
    places = [sum(8 * axes[d][1] * i for d, i in enumerate(at)) for at in np.ndindex(*shape)]
    if not overlaps_itself(view):
        assert len(set(places)) == len(places)


def test_element_strides() -> None:
    assert element_strides(np.zeros((3, 4), np.float32).T) == (1, 4)
    assert element_strides(np.zeros((4, 1), np.float32).T) == (4, 1)
    assert element_strides(np.zeros((3, 4))[::-1]) == (-4, 1)
