"""What a dtype means to an operator model: bytes an element takes in memory, and the peak that its arithmetic has.

A dtype is one name ("float32", "bfloat16"), or two where storage and arithmetic differ: "float16/float32" is stored in
half the bytes and computed in fp32. A name after a colon says how quantised operands are scaled ("float8_e4m3:block"),
or that a library leaves matrix units alone and multiplies four bytes at a time on the lanes ("int8:packed").
"""

from __future__ import annotations

from flashsched.errors import DeviceError
from flashsched.hw.spec import DeviceSpec

__all__ = ["arithmetic", "computed_in", "has_peak", "peak_of", "scaling", "storage_bytes"]

_BYTES = {"float64": 8, "int64": 8, "float32": 4, "tf32": 4, "int32": 4, "float16": 2, "bfloat16": 2, "int16": 2,
          "int8": 1, "float8_e4m3": 1, "float8_e5m2": 1}  # fmt: skip


def storage_bytes(dtype: str) -> int:
    """Bytes of one element in memory.

    >>> storage_bytes("bfloat16"), storage_bytes("float16/float32"), storage_bytes("float8_e4m3:block")
    (2, 2, 1)
    """
    name = dtype.partition(":")[0].partition("/")[0].removeprefix("u")
    if name not in _BYTES:
        raise DeviceError(f"dtype '{dtype}' is unknown", hint=f"known: {', '.join(_BYTES)}")
    return _BYTES[name]


def arithmetic(dtype: str) -> str:
    """The name under which a spec states the peak of *dtype*'s arithmetic.

    >>> arithmetic("float16/float32"), arithmetic("int8:row")
    ('float32', 'int8')
    """
    return dtype.partition(":")[0].rpartition("/")[2]


def scaling(dtype: str) -> str:
    """How quantised operands are scaled: "", "block" or "row"."""
    return dtype.partition(":")[2]


def peak_of(spec: DeviceSpec, dtype: str) -> float:
    """Peak operations per second of *dtype*'s arithmetic on *spec*; DeviceError where it has none."""
    return spec.peak(arithmetic(dtype))


def has_peak(spec: DeviceSpec, dtype: str) -> bool:
    """Whether *spec* states a peak for *dtype*'s arithmetic."""
    name = arithmetic(dtype)
    return name in spec.peaks or name.removeprefix("u") in spec.peaks


def computed_in(spec: DeviceSpec, dtype: str) -> str:
    """What plain lanes compute element-wise work on *dtype* in: float32 where the dtype's own peak is not theirs."""
    return "float32" if "float32" in spec.peaks else dtype
