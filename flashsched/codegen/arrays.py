"""Other people's arrays, seen as NumPy arrays without a copy.

It stands apart from `kernel` because it knows about libraries (NumPy's memory layout, DLPack's structures), and
`kernel` about rules. DLPack is read here rather than through `np.from_dlpack`, which makes most arrays read-only and
does not know bfloat16.
"""

from __future__ import annotations

import ctypes
import math
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from flashsched.errors import KernelError
from flashsched.te.dtypes import numpy_dtype

__all__ = ["Array", "borrow", "element_strides", "fresh_array", "overlaps_itself", "pointer"]

Array: TypeAlias = npt.NDArray[Any]

_word_at = ctypes.c_size_t.from_address
_DATA_AT = object.__basicsize__
"""Where an ndarray object holds its data pointer: the first field after the object header, fixed by NumPy's C ABI."""


def pointer(array: Array) -> int:
    """The address of *array*'s first element. ``array.ctypes.data`` takes seven times as long."""
    return _word_at(id(array) + _DATA_AT).value


def _pointer_by_attribute(array: Array) -> int:
    return array.ctypes.data


_probe = np.empty(1)
if pointer(_probe) != _probe.ctypes.data:  # an interpreter that lays objects out in another way
    pointer = _pointer_by_attribute


_LINE = 64  # bytes of a cache line, and of the widest vector
_LARGE = 1 << 20  # bytes from which on it does not matter that making an array takes 2 microseconds more


def fresh_array(shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
    """A new array that holds anything; a large one begins where a cache line does, so that its vectors are aligned."""
    kind = np.dtype(dtype)
    size = math.prod(shape) * kind.itemsize
    if size < _LARGE:
        return np.empty(shape, kind)
    room = np.empty(size + _LINE, np.uint8)
    first = -pointer(room) % _LINE
    return room[first : first + size].view(kind).reshape(shape)


def element_strides(array: Array) -> tuple[int, ...]:
    """Strides in elements. An axis of one element, which is never stepped along, has the stride of a contiguous one."""
    strides = []
    step = 1
    for size, stride in zip(reversed(array.shape), reversed(array.strides), strict=True):
        strides.append(step if size == 1 else stride // array.itemsize)
        step *= max(size, 1)
    return tuple(reversed(strides))


def overlaps_itself(array: Array) -> bool:
    """Whether two elements may share memory, as in a broadcast array; True if in doubt."""
    reach = array.itemsize
    for stride, size in sorted((abs(stride), size) for size, stride in zip(array.shape, array.strides, strict=True)):
        if size > 1 and stride < reach:
            return array.size > 0
        reach += stride * max(size - 1, 0)
    return False


def borrow(thing: Any) -> Array:
    """*thing* as an ndarray over the same memory.

    Raises:
        KernelError: it is not an array, or not in this machine's main memory; the reason continues "'x' …".
    """
    if isinstance(thing, np.ndarray):
        return np.asarray(thing)
    if hasattr(thing, "__dlpack__"):
        return _from_dlpack(thing)
    if isinstance(thing, (list, tuple, int, float, complex, np.generic)):
        raise KernelError(f"is a {type(thing).__name__}, and a kernel takes arrays", hint="pass np.asarray(...) of it")
    try:
        return np.asarray(memoryview(thing))
    except TypeError:
        what = "None" if thing is None else f"a {type(thing).__name__}"
        raise KernelError(
            f"is {what}, and a kernel takes arrays", hint="an array speaks the buffer protocol or DLPack"
        ) from None


class _Tensor(ctypes.Structure):
    """DLTensor of dlpack.h."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


class _Versioned(ctypes.Structure):
    """DLManagedTensorVersioned of dlpack.h."""

    _fields_ = (
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
        ("flags", ctypes.c_uint64),
        ("tensor", _Tensor),
    )


_READ_ONLY = 1
_IN_MAIN_MEMORY = {1: "CPU", 3: "pinned CPU"}  # kDLCPU and kDLCUDAHost
_DEVICES = {2: "CUDA", 4: "OpenCL", 7: "Vulkan", 8: "Metal", 10: "ROCm", 13: "CUDA managed", 14: "oneAPI"}
_KINDS = {0: "int", 1: "uint", 2: "float", 4: "bfloat", 5: "complex", 6: "bool"}


def _from_dlpack(thing: Any) -> Array:
    kind = type(thing).__name__
    try:
        device = int(thing.__dlpack_device__()[0])
        if device not in _IN_MAIN_MEMORY:
            where = _DEVICES.get(device, f"DLPack number {device}")
            raise KernelError(f"is a {kind} on another device ({where})", hint="copy it to the CPU first")
        try:
            capsule = thing.__dlpack__(max_version=(1, 0))
        except TypeError:  # a library older than DLPack 1.0
            capsule = thing.__dlpack__()
    except (BufferError, RuntimeError, ValueError, AttributeError) as error:
        if isinstance(error, KernelError):
            raise
        raise KernelError(f"is a {kind} that cannot be shared: {error}") from None
    versioned = _Versioned.from_address(_address(capsule)) if _is_versioned(capsule) else None
    tensor = _Tensor.from_address(_address(capsule)) if versioned is None else versioned.tensor
    name = _KINDS.get(tensor.code, f"DLPack-{tensor.code}-") + ("" if tensor.code == 6 else str(tensor.bits))
    try:
        dtype = numpy_dtype(name) if name == "bfloat16" else np.dtype(name)
    except TypeError:
        dtype = None
    if dtype is None or tensor.lanes != 1:
        raise KernelError(f"is a {kind} of an element type that kernels do not have ({name} x {tensor.lanes})")
    shape = tuple(tensor.shape[: tensor.ndim])
    steps = tuple(tensor.strides[: tensor.ndim]) if tensor.strides else _row_major(shape)
    strides = tuple(step * dtype.itemsize for step in steps)
    if math.prod(shape) == 0:
        return np.empty(shape, dtype)
    first = tensor.data + tensor.byte_offset
    below = sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True) if stride < 0)
    above = sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True) if stride > 0)
    memory = (ctypes.c_char * (above - below + dtype.itemsize)).from_address(first + below)
    memory.capsule = capsule  # the owner frees the memory when the capsule goes
    array: Array = np.ndarray(shape, dtype, memory, -below, strides)
    if versioned is not None and versioned.flags & _READ_ONLY:
        array.flags.writeable = False
    return array


def _row_major(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


_capsule_is = ctypes.pythonapi.PyCapsule_IsValid
_capsule_is.restype, _capsule_is.argtypes = ctypes.c_int, (ctypes.py_object, ctypes.c_char_p)
_capsule_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_capsule_pointer.restype, _capsule_pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)


def _is_versioned(capsule: Any) -> bool:
    return bool(_capsule_is(capsule, b"dltensor_versioned"))


def _address(capsule: Any) -> int:
    name = b"dltensor_versioned" if _is_versioned(capsule) else b"dltensor"
    return int(_capsule_pointer(capsule, name))
