"""NVIDIA's driver by ctypes: a device and its context, memory, modules of PTX, launches, and events that time them.

No toolkit is needed, only the driver's library, ``libcuda.so.1``, which is there where a GPU is. Every call is checked,
and a failure is told by its name. Where there is no driver, or no device, that is one sentence.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Callable, Sequence
from ctypes import byref, c_char_p, c_float, c_int, c_size_t, c_uint, c_uint64, c_void_p
from typing import Any, Final, TypeAlias

from flashsched.codegen.gpu.driver_errors import explained
from flashsched.errors import DeviceError

__all__ = ["CudaDevice", "Start", "cuda_available", "open_cuda"]

Start: TypeAlias = Callable[[], None]
"""Starts a kernel on arguments that are packed already."""

_NAMES: Final = ("nvcuda.dll",) if sys.platform == "win32" else ("libcuda.so.1", "libcuda.so")
_LOG = 8192  # bytes of what the driver says of PTX that it refuses
_JIT_ERROR_LOG, _JIT_ERROR_LOG_SIZE = 5, 6  # CUjit_option
_MAX_DYNAMIC_SHARED = 8  # CUfunction_attribute

ATTRIBUTES: Final = {
    "max_threads_per_block": 1, "warp_size": 10, "registers_per_block": 12, "clock_khz": 13, "units": 16,
    "memory_clock_khz": 36, "bus_bits": 37, "l2_bytes": 38, "max_threads": 39, "major": 75, "minor": 76,
    "shared_bytes": 81, "registers": 82, "shared_bytes_per_block": 97, "max_blocks": 106,
}  # fmt: skip
"""CUdevice_attribute by what `CudaDevice.attributes` calls it (CUDA driver API, cuda.h)."""


_libraries: dict[str | None, Any] = {}
_opened: dict[tuple[str | None, int], CudaDevice] = {}


def _named() -> str | None:
    """Another library than the driver's, for those who test."""
    return os.environ.get("FLASHSCHED_LIBCUDA")


def _library() -> Any:
    named = _named()
    for name in (named,) if named else _NAMES:
        if named not in _libraries:
            with contextlib.suppress(OSError):
                _libraries[named] = ctypes.CDLL(name)
    if named not in _libraries:
        raise DeviceError(
            f"there is no CUDA driver here: {named or _NAMES[0]} can't be loaded",
            hint="run it on a machine with an NVIDIA GPU and its driver; build(..., target='cuda').ptx() shows the "
            "code anywhere, and a simulated device (--device a100-sim) predicts its time",
        )
    return _libraries[named]


def _call(name: str, *args: Any) -> None:
    """Call the driver's function *name*.

    Raises:
        DeviceError: it fails, or there is no driver.
    """
    function = getattr(_library(), name, None)
    if function is None:
        raise DeviceError(f"the CUDA driver has no {name}", hint="install a driver for CUDA 11 or newer")
    status = int(function(*args))
    if status:
        raise explained(name, status)


def cuda_available() -> bool:
    """Whether there is a CUDA driver here with a device that it can use."""
    try:
        open_cuda()
    except DeviceError:
        return False
    return True


def open_cuda(number: int = 0) -> CudaDevice:
    """The CUDA device *number* of this machine, opened once a process.

    Raises:
        DeviceError: there is no driver, or no such device.
    """
    key = _named(), number
    if key in _opened:
        return _opened[key]
    _call("cuInit", c_uint(0))
    count = c_int()
    _call("cuDeviceGetCount", byref(count))
    if number >= count.value:
        raise DeviceError(
            f"the CUDA driver finds {count.value} devices here, and device {number} is asked for",
            hint="check nvidia-smi and CUDA_VISIBLE_DEVICES",
        )
    return _opened.setdefault(key, CudaDevice(number))


class CudaDevice:
    """One device with its primary context.

    Attributes:
        name: as the driver calls it.
        attributes: figures by the names of `ATTRIBUTES`.
    """

    def __init__(self, number: int) -> None:
        self._device = c_int()
        _call("cuDeviceGet", byref(self._device), c_int(number))
        text = ctypes.create_string_buffer(256)
        _call("cuDeviceGetName", text, c_int(256), self._device)
        self.name = text.value.decode(errors="replace")
        self.attributes: dict[str, int] = {}
        for name, code in ATTRIBUTES.items():
            value = c_int()
            _call("cuDeviceGetAttribute", byref(value), c_int(code), self._device)
            self.attributes[name] = value.value
        total = c_size_t()
        _call("cuDeviceTotalMem_v2", byref(total), self._device)
        self.memory_bytes = total.value
        self._context = c_void_p()
        _call("cuDevicePrimaryCtxRetain", byref(self._context), self._device)

    @property
    def arch(self) -> str:
        """Its architecture, ``sm_90``."""
        return f"sm_{self.attributes['major']}{self.attributes['minor']}"

    def use(self) -> None:
        """Make it the one that this thread's calls are about."""
        _call("cuCtxSetCurrent", self._context)

    # -- memory

    def allocate(self, size: int) -> int:
        """The address of *size* bytes of the device's memory."""
        address = c_uint64()
        _call("cuMemAlloc_v2", byref(address), c_size_t(max(size, 1)))
        return address.value

    def free(self, address: int) -> None:
        """Give memory back."""
        _call("cuMemFree_v2", c_uint64(address))

    def free_bytes(self) -> int:
        """How much of the device's memory nobody has."""
        free, total = c_size_t(), c_size_t()
        self.use()
        _call("cuMemGetInfo_v2", byref(free), byref(total))
        return free.value

    def to_device(self, address: int, source: int, size: int) -> None:
        """Copy *size* bytes from *source*, here, to *address*, there."""
        if size:
            _call("cuMemcpyHtoD_v2", c_uint64(address), c_void_p(source), c_size_t(size))

    def to_host(self, target: int, address: int, size: int) -> None:
        """Copy *size* bytes from *address*, there, to *target*, here."""
        if size:
            _call("cuMemcpyDtoH_v2", c_void_p(target), c_uint64(address), c_size_t(size))

    # -- code

    def load(self, ptx: str) -> int:
        """A module of *ptx*, which the driver assembles.

        Raises:
            DeviceError: it refuses the text; its log is in the message.
        """
        module, log = c_void_p(), ctypes.create_string_buffer(_LOG)
        options = (c_int * 2)(_JIT_ERROR_LOG, _JIT_ERROR_LOG_SIZE)
        values = (c_void_p * 2)(ctypes.cast(log, c_void_p), c_void_p(_LOG))
        try:
            _call("cuModuleLoadDataEx", byref(module), c_char_p(ptx.encode()), c_uint(2), options, values)
        except DeviceError as error:
            said = " ".join(log.value.decode(errors="replace").split())
            raise DeviceError(f"{error.reason}{': ' + said if said else ''}", hint=error.hint) from None
        return module.value or 0

    def unload(self, module: int) -> None:
        """Forget a module."""
        _call("cuModuleUnload", c_void_p(module))

    def function(self, module: int, name: str, dynamic_shared: int = 0) -> int:
        """The kernel *name* of a module, allowed *dynamic_shared* bytes of shared memory."""
        function = c_void_p()
        _call("cuModuleGetFunction", byref(function), c_void_p(module), c_char_p(name.encode()))
        if dynamic_shared:
            _call("cuFuncSetAttribute", function, c_int(_MAX_DYNAMIC_SHARED), c_int(dynamic_shared))
        return function.value or 0

    def start(
        self, function: int, grid: Sequence[int], block: Sequence[int], shared: int, words: Sequence[int]
    ) -> Start:
        """What starts a kernel each time it is called; *words* are its arguments, addresses and integers of 64 bits."""
        held = (c_uint64 * max(len(words), 1))(*(word & 0xFFFF_FFFF_FFFF_FFFF for word in words))
        first, size = ctypes.addressof(held), ctypes.sizeof(c_uint64)
        places = (c_void_p * max(len(words), 1))(*(first + size * number for number in range(len(words))))
        sizes = [c_uint(number) for number in (*grid, *block, shared)]
        args = (c_void_p(function), *sizes, c_void_p(None), places, c_void_p(None))
        keep = [held]  # what *places* points into

        def start() -> None:
            assert keep
            _call("cuLaunchKernel", *args)

        return start

    def wait(self) -> None:
        """Wait until the device has done all that it was asked for.

        Raises:
            DeviceError: a kernel failed.
        """
        _call("cuCtxSynchronize")

    def seconds(self, run: Start) -> float:
        """How long the device takes for what *run* starts, by its own clock."""
        start, stop = c_void_p(), c_void_p()
        _call("cuEventCreate", byref(start), c_uint(0))
        try:
            _call("cuEventCreate", byref(stop), c_uint(0))
            try:
                _call("cuEventRecord", start, c_void_p(None))
                run()
                _call("cuEventRecord", stop, c_void_p(None))
                _call("cuEventSynchronize", stop)
                taken = c_float()
                _call("cuEventElapsedTime", byref(taken), start, stop)
            finally:
                _call("cuEventDestroy_v2", stop)
        finally:
            _call("cuEventDestroy_v2", start)
        return float(taken.value) * 1e-3
