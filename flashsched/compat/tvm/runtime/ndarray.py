"""Arrays on a device: NumPy arrays behind TVM's names."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray as _NumPyArray

from flashsched.compat.tvm.runtime.device import Device, cpu, cuda, device, metal, opencl, require_cpu, rocm, vulkan
from flashsched.errors import KernelError
from flashsched.te.dtypes import check_dtype, numpy_dtype

__all__ = [
    "NDArray", "array", "cpu", "cuda", "device", "empty", "from_dlpack", "metal", "numpyasarray", "opencl", "rocm",
    "vulkan",
]  # fmt: skip

_ALIGNMENT = 64


class NDArray:
    """An array in CPU memory, its first element on a boundary of 64 bytes; ``numpy()`` is a copy, as in TVM."""

    __array_priority__ = 1000

    def __init__(self, data: _NumPyArray[Any], dev: Device | None = None) -> None:
        self.data = data
        self.device = dev or Device("cpu")

    @property
    def ctx(self) -> Device:
        """Its device (the name before 0.8)."""
        return self.device

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        return tuple(self.data.shape)

    @property
    def dtype(self) -> str:
        """Its element type's name."""
        return str(self.data.dtype.name)

    def numpy(self) -> _NumPyArray[Any]:
        """A NumPy array of its own with these elements."""
        return self.data.copy()

    asnumpy = numpy

    def copyfrom(self, source_array: Any) -> NDArray:
        """Take the elements of *source_array*, which has this shape; they are converted to this dtype.

        Raises:
            KernelError: the shapes differ.
        """
        source = source_array.data if isinstance(source_array, NDArray) else np.asarray(source_array)
        if source.shape != self.data.shape:
            raise KernelError(f"copyfrom: the source has shape {source.shape}, and the array {self.data.shape}")
        np.copyto(self.data, source, casting="unsafe")
        return self

    def copyto(self, target: Any, mem_scope: Any = None) -> NDArray:
        """Give the elements to another array, or to a new one on a device; returns it."""
        if isinstance(target, NDArray):
            return target.copyfrom(self)
        require_cpu(target)
        return array(self.data, target)

    def same_as(self, other: Any) -> bool:
        """Whether *other* is this very array."""
        return other is self

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> _NumPyArray[Any]:
        return np.asarray(self.data, dtype=dtype)

    def __dlpack__(self, **options: Any) -> Any:
        return self.data.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self.data.__dlpack_device__()

    def __setitem__(self, index: Any, value: Any) -> None:
        self.data[index] = value.data if isinstance(value, NDArray) else value

    def __getitem__(self, index: Any) -> Any:
        return self.data[index]

    def __len__(self) -> int:
        return len(self.data)

    def __repr__(self) -> str:
        return f"<tvm.nd.NDArray shape={self.shape}, {self.device}>\n{self.data!r}"


def empty(shape: Any, dtype: str = "float32", device: Device | None = None, mem_scope: Any = None) -> NDArray:
    """An array whose elements are yet to be written."""
    require_cpu(device)
    sizes = tuple(int(size) for size in shape) if isinstance(shape, tuple | list) else (int(shape),)
    kind = numpy_dtype(check_dtype(dtype))
    count = int(np.prod(sizes, dtype=np.int64))
    memory = np.empty(count * kind.itemsize + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return NDArray(memory[start : start + count * kind.itemsize].view(kind).reshape(sizes), device)


def array(arr: Any, device: Device | None = None, mem_scope: Any = None) -> NDArray:
    """A copy of *arr* (a NumPy array, an `NDArray`, a list) on *device*."""
    source = arr.data if isinstance(arr, NDArray) else np.asarray(arr)
    made = empty(source.shape, str(source.dtype.name), device)
    np.copyto(made.data, source)
    return made


def from_dlpack(tensor: Any) -> NDArray:
    """An array that shares its memory with *tensor*, anything in CPU memory that speaks DLPack."""
    return NDArray(np.from_dlpack(tensor))


def numpyasarray(np_data: _NumPyArray[Any]) -> NDArray:
    """An array that shares its memory with *np_data*."""
    return NDArray(np_data)
