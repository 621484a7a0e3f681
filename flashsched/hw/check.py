"""The rules that the figures of a device spec must obey, each refused with the field, its value and what would be
right.

They stand apart from ``spec.py`` so that a reader sees the shape of a device there and its consistency here.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NoReturn

from flashsched.errors import DeviceError, did_you_mean

if TYPE_CHECKING:
    from flashsched.hw.spec import DeviceSpec, MemoryLevel

__all__ = ["DTYPES", "KINDS", "PEAK_SLACK", "STATUSES", "check_spec"]

DTYPES = (
    "float64", "float32", "tf32", "float16", "bfloat16", "float8_e4m3", "float8_e5m2",
    "int8", "int16", "int32", "int64",
)  # fmt: skip
"""Arithmetic that a peak may be stated for, by the names people ask for it."""

KINDS = {"gpu": "gpu", "cpu": "cpu", "tpu": "systolic", "asic": "asic"}
"""Kind of device -> the table that describes one of its units."""

STATUSES = ("verified", "derived", "measured", "estimated", "unverified")

_NAME = re.compile(r"[a-z0-9][a-z0-9.+-]*(\[[^\[\]]*\])?")
_MOST_UNITS = 1_000_000
PEAK_SLACK = 1.05
"""Data sheets round their peaks, and quote them at slightly different clocks."""


def check_spec(spec: DeviceSpec) -> None:
    """Raise DeviceError unless the figures of *spec* are of their types, in range, and agree with each other."""
    _check_types(spec)
    _check_identity(spec)
    _check_range(spec)
    _check_memory(spec)
    if spec.gpu is not None:
        _check_gpu(spec)
    if spec.cpu is not None:
        _check_cpu(spec)
    if spec.systolic is not None or spec.asic is not None:
        _check_arrays(spec)
    for key, source in spec.sources.items():
        if source.status not in STATUSES:
            _refuse(spec, f"sources.{key}", source.status, f"a status among {', '.join(STATUSES)}")


def _refuse(spec: DeviceSpec, field: str, value: object, right: str) -> NoReturn:
    shown = f"{value:g}" if isinstance(value, float) else repr(value)
    raise DeviceError(f"device '{spec.name}': {field} is {shown}; it must be {right}")


_TYPES: dict[str, tuple[Any, Any, str]] = {
    "str": (str, None, "a text"), "bool": (bool, None, "True or False"), "int": (int, None, "a whole number"),
    "float": ((int, float), None, "a number"), "tuple[str, ...]": (tuple, str, "a tuple of texts"),
    "tuple[int, ...]": (tuple, int, "a tuple of whole numbers"),
    "tuple[MemoryLevel, ...]": (tuple, object, "a tuple of memory levels"),
    "Mapping[str, float]": (Mapping, None, "numbers by dtype"), "Mapping[str, str]": (Mapping, str, "texts by dtype"),
    "Mapping[str, Source]": (Mapping, str, "sources by field"),
}  # fmt: skip
"""What a field is said to be -> its type, that of what it holds (a mapping's keys), and the words for it."""


def _check_types(spec: DeviceSpec) -> None:
    """A spec made in code has been through no reader of files, which says which field is of the wrong type."""
    _check_fields(spec, spec, "")
    for where, record in [
        *((f"memory.{getattr(level, 'name', level)}", level) for level in spec.memory),
        *((table, getattr(spec, table)) for table in KINDS.values()),
    ]:
        if record is not None:
            _check_fields(spec, record, f"{where}.")


def _check_fields(spec: DeviceSpec, record: Any, prefix: str) -> None:
    if not dataclasses.is_dataclass(record):
        _refuse(spec, prefix.removesuffix("."), record, "a table of figures")
    for field in dataclasses.fields(record):
        value, asked = getattr(record, field.name), str(field.type)
        right, inner, what = _TYPES.get(asked.removesuffix(" | None"), (object, None, ""))
        if right is object or (value is None and asked.endswith("None")):
            continue
        wrong = not isinstance(value, right) or (isinstance(value, bool) and right is not bool)
        if wrong or (inner is not None and not all(isinstance(one, inner) for one in value)):
            _refuse(spec, f"{prefix}{field.name}", value, what)


def _check_identity(spec: DeviceSpec) -> None:
    if not _NAME.fullmatch(spec.name):
        _refuse(spec, "name", spec.name, "lower-case letters, digits, '-', '+' and '.', e.g. 'my-chip-sim'")
    if spec.name not in ("cpu", "cuda") and not spec.name.split("[")[0].endswith("-sim"):
        right = f"ending in '-sim', e.g. '{spec.name}-sim', so that reports keep simulated apart from measured"
        _refuse(spec, "name", spec.name, right)
    if spec.kind not in KINDS:
        _refuse(spec, "kind", spec.kind, f"one of {', '.join(sorted(KINDS))} ({did_you_mean(spec.kind, KINDS)})")
    needed = KINDS[spec.kind]
    if getattr(spec, needed) is None:
        raise DeviceError(f"device '{spec.name}': the table [{needed}] is missing; kind '{spec.kind}' needs it")
    for table in KINDS.values():
        if table != needed and getattr(spec, table) is not None:
            raise DeviceError(f"device '{spec.name}': the table [{table}] does not belong to kind '{spec.kind}'")


def _check_range(spec: DeviceSpec) -> None:
    _positive(spec, "units", spec.units)
    if spec.units > _MOST_UNITS:
        _refuse(
            spec, "units", spec.units, f"at most {_MOST_UNITS:,}: multiprocessors, compute units or cores, not lanes"
        )
    _positive(spec, "clock_hz", spec.clock_hz)
    if not 1e7 <= spec.clock_hz <= 2e10:
        _refuse(spec, "clock_hz", float(spec.clock_hz), "in hertz, between 1e7 and 2e10 (1.41 GHz is 1.41e9)")
    if not 0 <= spec.launch_s <= 1 or not math.isfinite(spec.launch_s):
        _refuse(spec, "launch_s", float(spec.launch_s), "seconds, between 0 and 1 (2.5 microseconds are 2.5e-6)")
    if not 0 < spec.sustained_clock <= 1:
        _refuse(spec, "sustained_clock", float(spec.sustained_clock), "a share above 0, at most 1")
    for name, value in (("power_w", spec.power_w), ("idle_power_w", spec.idle_power_w)):
        if value is not None:
            _positive(spec, name, value)
    if spec.process_nm is not None and not 0.5 <= spec.process_nm <= 1000:
        _refuse(spec, "process_nm", float(spec.process_nm), "in nanometres, from 0.5 to 1000 (7 nm are 7)")
    for name in ("host_link_bytes_per_s", "interconnect_bytes_per_s"):
        if getattr(spec, name) is not None:
            _check_rate(spec, name, getattr(spec, name))
    if spec.power_w is not None and spec.idle_power_w is not None and spec.idle_power_w > spec.power_w:
        _refuse(spec, "idle_power_w", float(spec.idle_power_w), f"at most power_w, {spec.power_w:g}")
    if not spec.peaks:
        raise DeviceError(f"device '{spec.name}': [peaks] is empty; state at least one, e.g. float32 = 19.5e12")
    for dtype, peak in spec.peaks.items():
        if dtype not in DTYPES:
            spelled = str(dtype).replace("bf16", "bfloat16").replace("fp", "float")  # as data sheets have it
            raise DeviceError(
                f"device '{spec.name}': peaks.{dtype} names no known arithmetic", hint=did_you_mean(spelled, DTYPES)
            )
        _positive(spec, f"peaks.{dtype}", peak)
        if peak < 1e6:
            _refuse(spec, f"peaks.{dtype}", float(peak), "in FLOP/s (19.5 TFLOP/s are 19.5e12)")
    for dtype, wide in spec.accumulate.items():
        if dtype not in spec.peaks or wide not in DTYPES:
            right = f"a dtype (float32, int32, ...), for one of the peaks: {', '.join(spec.peaks)}"
            _refuse(spec, f"accumulate.{dtype}", wide, right)
    for table in KINDS.values():
        unit = getattr(spec, table)
        for name in unit.__slots__ if unit is not None else ():
            value = getattr(unit, name)
            if name == "shared_reserved_bytes":
                if value < 0:
                    _refuse(spec, f"{table}.{name}", value, "0 or more")
            elif name == "matrix_shape":
                if value is not None and (len(value) != 3 or min(value) < 1):
                    _refuse(spec, f"{table}.{name}", value, "three sizes m, n, k, e.g. [16, 8, 16]")
            elif value is not None:
                _positive(spec, f"{table}.{name}", value)


def _positive(spec: DeviceSpec, field: str, value: Any) -> None:
    known = isinstance(value, int | float) and not isinstance(value, bool)
    if not (known and math.isfinite(value) and value > 0):
        _refuse(spec, field, value, "a positive number")


def _check_rate(spec: DeviceSpec, field: str, value: float) -> None:
    _positive(spec, field, value)
    if not 1e5 <= value <= 1e16:
        _refuse(spec, field, float(value), "in bytes per second, between 1e5 and 1e16 (2039 GB/s are 2039e9)")


def _check_memory(spec: DeviceSpec) -> None:
    if len(spec.memory) < 2:
        raise DeviceError(
            f"device '{spec.name}': [[memory]] has {len(spec.memory)} levels; "
            "state at least one on the chip and the main memory, nearest first"
        )
    names = [level.name for level in spec.memory]
    for name in names:
        if names.count(name) > 1:
            raise DeviceError(f"device '{spec.name}': memory level '{name}' is stated {names.count(name)} times")
    for level in spec.memory:
        where = f"memory.{level.name}"
        _positive(spec, f"{where}.size_bytes", level.size_bytes)
        _check_rate(spec, f"{where}.bandwidth_bytes_per_s", level.bandwidth_bytes_per_s)
        if not (math.isfinite(level.latency_s) and 0 <= level.latency_s < 1):
            _refuse(spec, f"{where}.latency_s", float(level.latency_s), "seconds, from 0 up to 1 (25 ns are 25e-9)")
        if level.shared_by not in ("device", "unit"):
            _refuse(spec, f"{where}.shared_by", level.shared_by, "'device' or 'unit'")
        if not 0 < level.sustained <= 1:
            _refuse(spec, f"{where}.sustained", float(level.sustained), "a share above 0, at most 1")
        if level.per_unit_bytes_per_s is not None:
            _check_rate(spec, f"{where}.per_unit_bytes_per_s", level.per_unit_bytes_per_s)
    if spec.dram.shared_by != "device":
        _refuse(
            spec, f"memory.{spec.dram.name}.shared_by", spec.dram.shared_by, "'device': the last level is main memory"
        )
    for near, far in pairwise(spec.memory):
        _check_order(spec, near, far)


def _check_order(spec: DeviceSpec, near: MemoryLevel, far: MemoryLevel) -> None:
    """A level farther out is no faster than the one before it, no nearer, and (registers apart) no smaller."""
    where = f"memory.{far.name}"
    each, inner, outer = "", near.bandwidth_bytes_per_s, far.bandwidth_bytes_per_s
    if near.shared_by == "unit" and far.shared_by == "device":
        if far.per_unit_bytes_per_s is not None:
            each, outer = "per_unit_", far.per_unit_bytes_per_s
        else:
            inner *= spec.units
    if outer > inner * PEAK_SLACK:
        right = f"at most that of '{near.name}', which is nearer: {inner:.4g} bytes/s"
        _refuse(spec, f"{where}.{each or 'bandwidth_'}bytes_per_s", float(outer), right)
    if far.latency_s < near.latency_s:
        right = f"at least that of '{near.name}', which is nearer: {near.latency_s:g} s"
        _refuse(spec, f"{where}.latency_s", float(far.latency_s), right)
    if near.name != "registers" and far.size_bytes < near.size_bytes:
        right = f"at least that of '{near.name}', which is nearer: {near.size_bytes} bytes"
        _refuse(spec, f"{where}.size_bytes", far.size_bytes, right)
    if near.shared_by == "device" and far.shared_by == "unit":
        _refuse(spec, f"{where}.shared_by", far.shared_by, f"'device', since '{near.name}', which is nearer, is")


def _check_gpu(spec: DeviceSpec) -> None:
    unit = spec.gpu
    assert unit is not None
    for name in ("registers", "shared", "l2"):
        if all(level.name != name for level in spec.memory):
            hint = "a gpu has the levels registers and shared of a unit, and l2 and one main memory of the device"
            raise DeviceError(f"device '{spec.name}' has no memory level '{name}'", hint=hint)
    shared = spec.level("shared")
    if spec.level("registers").size_bytes != unit.registers * 4:
        right = f"4 bytes for each of gpu.registers: {unit.registers * 4}"
        _refuse(spec, "memory.registers.size_bytes", spec.level("registers").size_bytes, right)
    if unit.shared_bytes_per_block + unit.shared_reserved_bytes > shared.size_bytes:
        right = f"at most what a unit has, less what is reserved: {shared.size_bytes - unit.shared_reserved_bytes}"
        _refuse(spec, "gpu.shared_bytes_per_block", unit.shared_bytes_per_block, right)
    if unit.max_threads_per_block > unit.max_threads:
        _refuse(
            spec, "gpu.max_threads_per_block", unit.max_threads_per_block, f"at most max_threads, {unit.max_threads}"
        )
    if unit.max_threads % unit.warp_size:
        _refuse(spec, "gpu.max_threads", unit.max_threads, f"a multiple of warp_size, {unit.warp_size}")
    if unit.max_registers_per_thread * unit.warp_size > unit.registers:
        right = f"at most registers / warp_size: {unit.registers // unit.warp_size}"
        _refuse(spec, "gpu.max_registers_per_thread", unit.max_registers_per_thread, right)
    issue = 2.0 * spec.units * spec.clock_hz * unit.schedulers * unit.warp_size
    if spec.peaks.get("float32", 0.0) > issue * PEAK_SLACK:
        right = (
            f"at most what the schedulers issue on the plain cores: {issue:.4g} (2 x units x clock x schedulers x warp)"
        )
        _refuse(spec, "peaks.float32", float(spec.peaks["float32"]), right)
    if unit.matrix_macs_per_clock is not None:
        rate = 2.0 * spec.units * spec.clock_hz * unit.matrix_macs_per_clock
        _check_matrix(spec, rate, "2 x units x clock x gpu.matrix_macs_per_clock")


_OF_16_BITS = {"tf32": 0.5, "float16": 1.0, "bfloat16": 1.0, "float8_e4m3": 2.0, "float8_e5m2": 2.0, "int8": 2.0}
"""How many operations of a dtype matrix units do in the time of one on 16 bits, at most."""


def _check_matrix(spec: DeviceSpec, rate: float, why: str) -> None:
    """No peak is above what matrix units, of *rate* operations on 16 bits a second, can do with dense operands."""
    for dtype, times in _OF_16_BITS.items():
        peak, most = spec.peaks.get(dtype, 0.0), rate * times
        if peak > most * PEAK_SLACK and peak > spec.peaks.get("float32", 0.0) * PEAK_SLACK:
            right = f"at most what the matrix units do with dense operands: {most:.4g} ({why}, times {times:g})"
            if peak > 1.8 * most:
                right += "; vendors quote twice the dense rate for sparse operands, so is it that figure?"
            _refuse(spec, f"peaks.{dtype}", float(peak), right)


def _check_arrays(spec: DeviceSpec) -> None:
    unit = spec.systolic or spec.asic
    assert unit is not None
    table, macs = KINDS[spec.kind], unit.rows * unit.columns * unit.arrays
    why = f"2 x units x clock x {table}.rows x columns x arrays"
    _check_matrix(spec, 2.0 * spec.units * spec.clock_hz * macs, why)
    if spec.asic is not None and spec.asic.weight_bytes > spec.memory[0].size_bytes * spec.units:
        right = f"at most the on-chip memory: {spec.memory[0].size_bytes * spec.units}"
        _refuse(spec, "asic.weight_bytes", spec.asic.weight_bytes, right)


def _check_cpu(spec: DeviceSpec) -> None:
    unit = spec.cpu
    assert unit is not None
    if unit.vector_bits < 32 or unit.vector_bits & (unit.vector_bits - 1):
        _refuse(spec, "cpu.vector_bits", unit.vector_bits, "a power of two, at least 32")
    if (unit.matrix_macs_per_clock is None) != (unit.matrix_operand_bits is None):
        right = "stated together with cpu.matrix_macs_per_clock, or not at all"
        _refuse(spec, "cpu.matrix_operand_bits", unit.matrix_operand_bits, right)
    matrix = 2.0 * spec.units * spec.clock_hz * (unit.matrix_macs_per_clock or 0)
    for dtype, bits in (("float32", 32), ("float64", 64)):
        ports = 2.0 * spec.units * spec.clock_hz * unit.lanes(bits) * unit.fma_ports
        if unit.matrix_operand_bits is not None and unit.matrix_operand_bits >= 32:
            ports = max(ports, matrix * 32 / bits)
        if spec.peaks.get(dtype, 0.0) > ports * PEAK_SLACK:
            right = f"at most what the FMA ports do: {ports:.4g} (2 x units x clock x lanes x fma_ports)"
            _refuse(spec, f"peaks.{dtype}", float(spec.peaks[dtype]), right)
    if unit.matrix_operand_bits is not None:
        rate = matrix * unit.matrix_operand_bits / 16
        _check_matrix(spec, rate, "2 x units x clock x cpu.matrix_macs_per_clock")
    if unit.numa_nodes is not None and spec.units % unit.numa_nodes:
        _refuse(spec, "cpu.numa_nodes", unit.numa_nodes, f"a divisor of the cores, {spec.units}")
