"""Rows of measurements, grouped by what they ask of a model: one device, operation, dtype and source at a time."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flashsched.errors import DeviceError
from flashsched.hw.operators import OPERATORS, OperatorModel, section_of
from flashsched.hw.operators.dtypes import arithmetic, has_peak, storage_bytes
from flashsched.hw.registry import devices
from flashsched.hw.spec import DeviceSpec
from flashsched.hw.validation.names import is_called, spec_named
from flashsched.hw.validation.operations import asked_of, dtype_of
from flashsched.hw.validation.tables import Notes, Table, read_tables
from flashsched.hw.validation.timing import SOFTMAX_ARRAYS, timing_of

__all__ = ["Rows", "read_rows", "thinned"]


_IMPOSSIBLE = 0.25  # of the roofline: a time below it is of another device, or of a kernel that did not run


@dataclass(frozen=True)
class Rows:
    """Rows of one file that ask the same model the same thing: one device, operation and dtype."""

    file: str
    device: str
    op: str
    dtype_name: str
    source: str
    spec: DeviceSpec
    model: OperatorModel
    dtype: str
    sizes: Mapping[str, NDArray[np.int64]]
    measured_s: NDArray[np.float64]
    lines: NDArray[np.int64]

    @property
    def section(self) -> str:
        """The set of constants that these rows are predicted with."""
        return section_of(self.model, self.spec, self.dtype)

    def take(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> Rows:
        """Some of the rows."""
        sizes = {name: column[rows] for name, column in self.sizes.items()}
        return Rows(self.file, self.device, self.op, self.dtype_name, self.source, self.spec, self.model, self.dtype,
                    sizes, self.measured_s[rows], self.lines[rows])  # fmt: skip


def read_rows(data: Path, device: str | DeviceSpec | None = None) -> tuple[list[Rows], Notes]:
    """The rows in *data* that have a device and a model, and notes of those that do not.

    *device* keeps the rows of one device: a known one by name, or any other as it is, whose rows bear its name, its
    title or one of its other names.

    Raises:
        DeviceError: there are none.
    """
    notes = Notes()
    groups: list[Rows] = []
    named: dict[str, None] = {}
    for table in read_tables(data, notes):
        groups += _groups(table, device, notes)
        named |= dict.fromkeys(table.text("device").tolist())
    if not groups:
        name = device.name if isinstance(device, DeviceSpec) else device
        which = f" of {name}" if name else ""
        hint = f"its rows are of {', '.join(list(named)[:8])}{', …' if len(named) > 8 else ''}" if name else ""
        if isinstance(device, str) and device in named and device not in devices:
            hint = f"no device is called '{device}'; give the file of it, e.g. {device}.toml"
        raise DeviceError(
            f"{data} holds no measurement{which} that a model is there for",
            hint=hint,
            shown="\n".join(notes.lines),
        )
    return groups, notes


def thinned(groups: list[Rows], most: int) -> list[Rows]:
    """*groups* with at most about *most* rows in all, evenly taken over the times; the same ones every time."""
    total = sum(len(group.measured_s) for group in groups)
    if total <= most:
        return groups
    kept = []
    for group in groups:
        count = max(1, round(len(group.measured_s) * most / total))
        order = np.argsort(group.measured_s, kind="stable")
        kept.append(group.take(order[np.linspace(0, len(order) - 1, count).astype(np.int64)]))
    return kept


def _groups(table: Table, device: str | DeviceSpec | None, notes: Notes) -> Iterator[Rows]:
    """The rows of *table* by device, operation, dtype and source, where they have a model."""
    names = [table.text(name) for name in ("device", "op", "dtype", "source", "unit", "backend")]
    for key in dict.fromkeys(zip(*(column.tolist() for column in names), strict=True)):
        rows = np.all([column == value for column, value in zip(names, key, strict=True)], axis=0)
        name, op, dtype_name, source, unit, backend = key
        count = int(rows.sum())
        asked, kind = _part_named(name, unit, backend, source)
        if isinstance(device, DeviceSpec):
            spec, remark = (device, "") if is_called(device, asked) else (None, "")
        else:
            spec, remark = spec_named(asked)
        if spec is not None and kind and spec.kind != kind:
            spec, remark = None, f"no device is called {asked!r}"
        if isinstance(device, DeviceSpec) and spec is None:
            continue
        if isinstance(device, str) and (spec is None or device not in (name, spec.name, *spec.aliases)):
            continue
        if spec is None:
            notes.skip(remark, count)
            continue
        yield from _asked(table, rows, spec, (name, op, dtype_name or "fp32", source), remark, notes)


_OF_CPUS = ("danieldk",)
"""Sources that timed CPUs, and say no more than the chip's name."""


def _part_named(name: str, unit: str, backend: str, source: str = "") -> tuple[str, str]:
    """The name of the part of a chip that was timed, and the kind it must be ("" for any)."""
    if unit.upper() == "ANE":
        return re.sub(r"(?i)^apple-?", "ane-", name), ""
    if unit.upper() == "CPU-NEON":  # a chip's vector units, where its matrix unit is the faster part
        return f"{name} NEON", "cpu"
    if unit.upper() in ("CPU", "CPU-AMX") or re.search(r"(^|_)cpu", backend.lower()) or source in _OF_CPUS:
        chip, bracket, rest = name.partition("(")
        return f"{chip.strip()} CPU {bracket}{rest}".strip(), "cpu"
    return name, ""


def _asked(table: Table, rows: NDArray[np.bool_], spec: DeviceSpec, key: tuple[str, str, str, str], remark: str,
           notes: Notes) -> Iterator[Rows]:  # fmt: skip
    name, op, dtype_name, source = key
    count = int(rows.sum())
    dtype = dtype_of(dtype_name, source)
    asked = asked_of(table, rows, op)
    model = OPERATORS.get((asked.model, spec.kind)) if asked is not None else None
    if asked is None or model is None:
        article = "an" if spec.kind.startswith("a") else "a"
        notes.skip(f"there is no model of '{op}' on {article} {spec.kind}", count)
    elif dtype is None:
        notes.skip(f"dtype '{dtype_name}' is not known", count)
    elif asked.missing:
        notes.skip(f"{table.file}: '{op}' needs the column {', '.join(asked.missing)}", count)
    elif not has_peak(spec, dtype) and model.NAME in ("gemm", "conv2d", "attention"):
        notes.skip(f"{spec.name} states no peak for {arithmetic(dtype)}", count)
    else:
        if not asked.kept.all():
            notes.skip(f"{table.file}: a size of '{op}' is no whole number from 1 up", int((~asked.kept).sum()))
        if remark:
            notes.tell(remark)
        timing = timing_of(source, spec.vendor)
        sizes = {column: values[asked.kept] for column, values in asked.sizes.items()}
        total = int(asked.kept.sum())
        if total == 0:
            return
        for flag in ("launched", "warm", "rowwise"):
            sizes[flag] = np.full(total, getattr(timing, flag), dtype=np.int64)
        if model.NAME == "softmax" and (arrays := _arrays_of(table, rows)):
            sizes["arrays"] = np.full(total, arrays, dtype=np.int64)
        if model.NAME in timing.drifts:
            sizes["place"] = np.arange(total, dtype=np.int64) * 1000 // total
        if timing.quantises and model.NAME == "gemm" and storage_bytes(dtype) == 1:
            sizes["quantised"] = np.ones(total, dtype=np.int64)
        where = np.flatnonzero(rows)[asked.kept]
        found = Rows(table.file, name, op, dtype_name, source, spec, model, dtype, sizes, table.measured_s[where],
                     table.lines[where])  # fmt: skip
        possible = found.measured_s >= _IMPOSSIBLE * model.roofline(spec, dtype, sizes)
        if not possible.all():
            notes.skip(f"{table.file}: they are four times as fast as {spec.name} at its peak", int((~possible).sum()))
        if possible.any():
            yield found.take(possible)


def _arrays_of(table: Table, rows: NDArray[np.bool_]) -> int:
    """The arrays that softmax moves in *rows*, which are of one device and backend; 0 where it is one kernel."""
    device, backend = table.text("device"), table.text("backend")
    compiles = ((device == device[rows][0]) & np.char.endswith(backend, "_compile")).any()
    return SOFTMAX_ARRAYS.get(str(backend[rows][0]), 0) if compiles else 0
