"""The CUDA driver's errors: what each number is called, and what to do about those that people meet."""

from __future__ import annotations

from typing import Final

from flashsched.errors import DeviceError

__all__ = ["NAMES", "explained", "is_lasting"]

NAMES: Final = {
    1: "CUDA_ERROR_INVALID_VALUE", 2: "CUDA_ERROR_OUT_OF_MEMORY", 3: "CUDA_ERROR_NOT_INITIALIZED",
    4: "CUDA_ERROR_DEINITIALIZED", 34: "CUDA_ERROR_STUB_LIBRARY", 35: "CUDA_ERROR_INSUFFICIENT_DRIVER",
    46: "CUDA_ERROR_DEVICE_UNAVAILABLE", 100: "CUDA_ERROR_NO_DEVICE", 101: "CUDA_ERROR_INVALID_DEVICE",
    200: "CUDA_ERROR_INVALID_IMAGE", 201: "CUDA_ERROR_INVALID_CONTEXT", 209: "CUDA_ERROR_NO_BINARY_FOR_GPU",
    214: "CUDA_ERROR_ECC_UNCORRECTABLE", 218: "CUDA_ERROR_INVALID_PTX", 221: "CUDA_ERROR_JIT_COMPILER_NOT_FOUND",
    222: "CUDA_ERROR_UNSUPPORTED_PTX_VERSION", 300: "CUDA_ERROR_INVALID_SOURCE", 400: "CUDA_ERROR_INVALID_HANDLE",
    500: "CUDA_ERROR_NOT_FOUND", 600: "CUDA_ERROR_NOT_READY", 700: "CUDA_ERROR_ILLEGAL_ADDRESS",
    701: "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES", 702: "CUDA_ERROR_LAUNCH_TIMEOUT",
    714: "CUDA_ERROR_HARDWARE_STACK_ERROR", 715: "CUDA_ERROR_ILLEGAL_INSTRUCTION",
    716: "CUDA_ERROR_MISALIGNED_ADDRESS", 717: "CUDA_ERROR_INVALID_ADDRESS_SPACE",
    718: "CUDA_ERROR_INVALID_PC", 719: "CUDA_ERROR_LAUNCH_FAILED", 800: "CUDA_ERROR_NOT_PERMITTED",
    801: "CUDA_ERROR_NOT_SUPPORTED", 803: "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH", 999: "CUDA_ERROR_UNKNOWN",
}  # fmt: skip
"""By number (CUDA driver API, ``CUresult``)."""

_HINTS: Final = {
    2: "pass smaller arrays, or free what other programs hold on the device (nvidia-smi)",
    34: "a stub of the driver was found first: take its folder out of LD_LIBRARY_PATH",
    35: "install a newer driver",
    46: "another process has the device to itself (nvidia-smi)",
    100: "no GPU is seen: check nvidia-smi, CUDA_VISIBLE_DEVICES, and the container's --gpus",
    209: "compile for the device that is here: target='cuda'",
    218: "compile for the device that is here (target='cuda'); else it is a fault of the code generator",
    222: "install a newer driver, or compile for an older architecture: target='cuda:sm_80'",
    700: "a kernel touched memory that is not its own; the process must start anew before the next launch",
    701: "a block asks for more registers or shared memory than a unit has: use smaller tiles",
    702: "the kernel ran longer than the system lets one (a display's watchdog)",
    716: "an array is aligned to less than 16 bytes",
    719: "a kernel crashed; the process must start anew before the next launch",
    803: "the driver's library and the kernel's driver are of two versions: reboot, or reinstall",
}


def explained(function: str, status: int) -> DeviceError:
    """The error that tells that *function* of the driver gave *status*."""
    name = NAMES.get(status, f"CUDA error {status}")
    return DeviceError(f"{function} of the CUDA driver fails: {name} ({status})", hint=_HINTS.get(status))


def is_lasting(error: BaseException) -> bool:
    """Whether *error* is one after which a process can do nothing more with its device."""
    lasting = (700, 702, 714, 715, 716, 717, 718, 719)
    return isinstance(error, DeviceError) and any(f"({status})" in error.reason for status in lasting)
