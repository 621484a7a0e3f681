"""A device spec as text for people: figures in the units they are spoken of, each with how far it is trusted."""

from __future__ import annotations

import dataclasses

from flashsched.hw.check import KINDS
from flashsched.hw.spec import DeviceSpec

__all__ = ["describe"]

_UNIT_NAMES = {"gpu": "multiprocessors", "cpu": "cores", "tpu": "TensorCores", "asic": "cores"}


def describe(spec: DeviceSpec) -> str:
    """The whole of *spec*, with its sources at the end.

    >>> from flashsched.hw.registry import devices
    >>> print(describe(devices["a100-sim"]).splitlines()[0])
    a100-sim: NVIDIA A100-SXM4-80GB
    """
    head = spec.title or spec.vendor or spec.kind
    lines = [f"{spec.name}: {head}"]
    if spec.aliases:
        lines.append(f"also called {', '.join(spec.aliases)}")
    if not spec.measured and spec.name == "cpu":
        lines.append("not measured yet: peaks and bandwidths are estimates from the clock and the vector width")
    lines += ["", f"  {_row('units', f'{spec.units} {_UNIT_NAMES[spec.kind]}', spec, 'units')}"]
    clock = f"{spec.clock_hz / 1e9:.3f} GHz"
    if spec.sustained_clock < 1:
        clock += f", {spec.sustained_clock:.0%} of it under dense load"
    lines.append(f"  {_row('clock', clock, spec, 'clock_hz')}")
    lines.append(f"  {_row('launch', _seconds(spec.launch_s), spec, 'launch_s')}")
    for label, value, field in (
        ("power", spec.power_w, "power_w"),
        ("idle power", spec.idle_power_w, "idle_power_w"),
    ):
        if value is not None:
            lines.append(f"  {_row(label, f'{value:g} W', spec, field)}")
    if spec.process_nm is not None:
        lines.append(f"  {_row('process', f'{spec.process_nm:g} nm', spec, 'process_nm')}")
    if spec.host_link_bytes_per_s is not None:
        link = f"{spec.host_link_bytes_per_s / 1e9:g} GB/s per direction"
        lines.append(f"  {_row('host link', link, spec, 'host_link_bytes_per_s')}")
    if spec.interconnect_bytes_per_s is not None:
        link = f"{spec.interconnect_bytes_per_s / 1e9:g} GB/s per direction"
        lines.append(f"  {_row('to its peers', link, spec, 'interconnect_bytes_per_s')}")
    if spec.calibration is not None:
        lines.append(f"  {'calibration':<26}{spec.calibration}")
    lines += ["", "peaks (dense)"]
    for dtype, peak in spec.peaks.items():
        text = f"{_rate(peak, dtype)}, sums in {spec.accumulates(dtype)}"
        lines.append(f"  {_row(dtype, text, spec, f'peaks.{dtype}')}")
    lines += ["", "memory, nearest first"]
    for level in spec.memory:
        each = " per unit" if level.shared_by == "unit" else ""
        text = (
            f"{_bytes(level.size_bytes)}{each}, {level.bandwidth_bytes_per_s / 1e9:,.0f} GB/s{each}, "
            f"{_seconds(level.latency_s)}"
        )
        stated = ["size_bytes", "bandwidth_bytes_per_s", "latency_s"]
        if level.sustained < 1:
            text += f", {level.sustained:.0%} sustained"
            stated.append("sustained")
        lines.append(f"  {_row(level.name, text, spec, *(f'memory.{level.name}.{figure}' for figure in stated))}")
    unit = getattr(spec, KINDS[spec.kind])
    lines += ["", "one unit"]
    for f in dataclasses.fields(unit):
        value = getattr(unit, f.name)
        if value is not None:
            text = " x ".join(map(str, value)) if isinstance(value, tuple) else f"{value:g}"
            lines.append(f"  {_row(f.name.replace('_', ' '), text, spec, f'{KINDS[spec.kind]}.{f.name}')}")
    if spec.sources:
        lines += ["", "sources", *(f"  {field}: {source}" for field, source in spec.sources.items())]
    return "\n".join(lines)


def _row(label: str, text: str, spec: DeviceSpec, *fields: str) -> str:
    """A line with how far its figures are trusted: one word if they are alike, else one for each, in their order."""
    statuses = [spec.source_of(field).status for field in fields]
    trust = statuses[0] if len(set(statuses)) == 1 else ", ".join(statuses)
    return f"{label:<26}{text:<58}{trust}"


def _rate(peak: float, dtype: str) -> str:
    what = "OP/s" if dtype.startswith("int") else "FLOP/s"
    return f"{peak / 1e12:.4g} T{what}" if peak >= 1e12 else f"{peak / 1e9:.4g} G{what}"


def _bytes(size: int) -> str:
    for unit, factor in (("GB", 1e9), ("MiB", 2**20), ("KiB", 2**10)):
        if size >= factor:
            return f"{size / factor:.4g} {unit}"
    return f"{size} B"


def _seconds(value: float) -> str:
    return f"{value * 1e6:.3g} us" if value >= 1e-6 else f"{value * 1e9:.3g} ns"
