"""This machine: what the system says of its cores, caches and vectors, and the device spec made of that.

Peaks and bandwidths are taken from a ``Measured`` that the code generator's probe has timed and saved; without one
they are estimates, and the spec says so (``measured=False``). How the system is asked is in ``host_probe.py``.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from flashsched.errors import DeviceError
from flashsched.hw.host_probe import VECTOR_FLAGS, Host, probe_host, widest_vectors
from flashsched.hw.spec import CpuUnit, DeviceSpec, MemoryLevel, Source
from flashsched.hw.user_cache import cache_folder, write_whole

__all__ = [
    "Measured",
    "host_fingerprint",
    "host_spec",
    "load_measured",
    "measured_path",
    "save_measured",
    "used_host",
]

_SCHEMA = "flashsched.measured/1"

_PORTS = 2
"""FMA ports of a core, where nothing was measured: what Intel's servers since Haswell, AMD's since Zen and Arm's large
cores have at least."""

_FASTEST_CLOCK = 6e9
"""No processor in use runs faster, in hertz."""

_BITS = {"float64": 64, "float32": 32, "int64": 64, "int32": 32, "int16": 16, "int8": 8, "float16": 32, "bfloat16": 32}
"""Bits that an element takes while it is computed with: half precision is widened to float32."""

_BYTES_PER_CLOCK = {"l1": 2.0, "l2": 1.0, "l3": 0.5}
"""Vector loads a clock that a level feeds one core with, where nothing was measured (two loads from L1 is what cores
since Haswell and Zen do; L2 and L3 are about a half and a quarter of it)."""

_DRAM_PER_CORE = 10e9
"""Bytes a second that one core draws from main memory, where nothing was measured: a dozen 64-byte lines in flight over
80 ns."""

_LATENCY_S = {"l1": 1.5e-9, "l2": 5e-9, "l3": 20e-9, "dram": 90e-9}
"""Load latencies of servers of the last ten years, rounded; the CPU model does not use them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What was timed on a machine.

    Attributes:
        fingerprint: of the machine it was timed on; ``host_fingerprint()``.
        cores: threads that were used for the figures "of all cores".
        fma_flops: FLOP/s of one core in a register-only FMA loop, by dtype.
        fma_flops_all: the same of all cores together.
        bandwidth: bytes/s that one core reads, by memory level ("l1", "l2", "l3", "dram").
        bandwidth_all: the same of all cores together.
        noise: half the spread between quartiles of repeated timings, as a share of their median.
    """

    fingerprint: str
    cores: int
    fma_flops: Mapping[str, float]
    fma_flops_all: Mapping[str, float]
    bandwidth: Mapping[str, float]
    bandwidth_all: Mapping[str, float] = field(default_factory=dict)
    noise: float = 0.0

    def to_json(self) -> str:
        """One JSON document, which ``from_json`` reads back equal."""
        return json.dumps({"schema": _SCHEMA, **dataclasses.asdict(self)}, indent=1, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Measured:
        """Read what ``to_json`` wrote.

        Raises:
            DeviceError: not such a document, or figures that are not positive numbers.
        """
        try:
            data = json.loads(text)
            if data.pop("schema") != _SCHEMA:
                raise ValueError("unknown schema")
            made = cls(**data)
            tables = (made.fma_flops, made.fma_flops_all, made.bandwidth, made.bandwidth_all)
            if not all(float(value) > 0 for table in tables for value in table.values()) or made.cores < 1:
                raise ValueError("a figure that is not positive")
        except (ValueError, TypeError, KeyError, AttributeError) as problem:
            raise DeviceError(
                f"not a record of measured figures: {problem}", hint="delete the file; measuring again takes seconds"
            ) from problem
        return made


def used_host() -> Host:
    """This machine as code uses it: under ``FLASHSCHED_TARGET`` with the vectors of the lesser CPU that it names.

    What is planned for it and measured on it follows. Its ``model`` tells, so that figures of the two are kept apart.

    Raises:
        DeviceError: LLVM has no such CPU, or this machine lacks an instruction set that it has.
    """
    host, name = probe_host(), os.environ.get("FLASHSCHED_TARGET", "").strip()
    if name in ("", "native"):
        return host
    from flashsched.codegen.target import host_target  # only the code generator knows what a CPU of that name has

    isa, bits = widest_vectors(filter(host_target().has, VECTOR_FLAGS))
    return dataclasses.replace(host, model=f"{host.model} as {name}", isa=isa, vector_bits=bits)


def host_fingerprint(host: Host | None = None) -> str:
    """Twelve hex digits of what the measured figures depend on: processor, cores given to us, caches, vector width."""
    host = used_host() if host is None else host
    text = repr((host.model, host.cores, host.isa, host.vector_bits, sorted(host.caches.items())))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def measured_path(fingerprint: str | None = None) -> Path:
    """Where the figures of a machine are kept, in the user's cache folder."""
    return cache_folder() / f"measured-{fingerprint or host_fingerprint()}.json"


def save_measured(measured: Measured, path: Path | None = None) -> Path:
    """Write *measured* (whole, or not at all) and return where; OSError where the folder cannot be written."""
    path = measured_path(measured.fingerprint) if path is None else path
    write_whole(path, measured.to_json().encode())
    return path


def load_measured(path: Path | None = None, host: Host | None = None) -> Measured | None:
    """The figures saved for this machine; None where there are none, or they are another machine's or damaged."""
    expected = host_fingerprint(host)
    path = measured_path(expected) if path is None else path
    try:
        measured = Measured.from_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, DeviceError):
        return None
    return measured if measured.fingerprint == expected else None


def host_spec(measured: Measured | None = None, host: Host | None = None) -> DeviceSpec:
    """The device ``cpu``: this machine, from what was *measured*, or from estimates where nothing was.

    An estimate is clock x lanes x ``2`` FMA ports x 2 for arithmetic, and vector loads per clock for caches. It errs
    low where the clock that the system states is a base clock, as it is on virtual machines.
    """
    host = used_host() if host is None else host
    clock, ports = _clock_and_ports(host, measured)
    peaks: dict[str, float] = {}
    sources = {"units": _told(host.cores_source), "clock_hz": _told(host.clock_source)}
    if clock > host.clock_hz:
        sources["clock_hz"] = Source("the FMA rate measured on this machine, over its lanes and ports", "measured")
    for dtype, bits in _BITS.items():
        lanes = max(1, host.vector_bits // bits)
        timed = None
        if measured is not None:
            timed = _over_all(measured.fma_flops_all, measured, host).get(dtype)
            if timed is None and dtype in measured.fma_flops:
                timed = measured.fma_flops[dtype] * host.cores
        if timed is not None:
            peaks[dtype] = timed
            sources[f"peaks.{dtype}"] = Source("register-only FMA loop on this machine", "measured")
        else:
            peaks[dtype] = 2.0 * lanes * ports * clock * host.cores
            sources[f"peaks.{dtype}"] = Source(f"clock x {lanes} lanes x {ports} ports x 2 x cores", "estimated")
    levels, level_sources = _levels(host, clock, measured)
    return DeviceSpec(
        name="cpu",
        title=host.model,
        kind="cpu",
        vendor=host.vendor,
        architecture=host.isa,
        units=host.cores,
        clock_hz=clock,
        peaks=peaks,
        memory=levels,
        launch_s=2.3e-6,
        cpu=CpuUnit(
            vector_bits=host.vector_bits,
            vector_registers=32 if host.vector_bits == 512 or host.isa == "neon" else 16,
            fma_ports=ports,
            fma_latency_cycles=4.0,
            issue_width=4,
        ),
        measured=measured is not None,
        sources=sources
        | level_sources
        | {
            "launch_s": Source("fork and join of spinning threads, measured on a 2-core AVX-512 machine", "estimated"),
            "cpu": Source("vector width from the instruction sets; the rest as cores since 2015 have", "estimated"),
        },
    )


def _clock_and_ports(host: Host, measured: Measured | None) -> tuple[float, int]:
    """Clock and FMA ports that explain the rate measured: a faster clock than the system admits to (a virtual machine
    states its base clock), and past what any clock reaches, more ports."""
    clock, ports = host.clock_hz, _PORTS
    if measured is None:
        return clock, ports
    vectors = 0.0  # multiply-adds of vectors that a core finishes in a second
    for dtype in ("float32", "float64"):
        rate = measured.fma_flops.get(dtype, 0.0)
        rate = max(rate, _over_all(measured.fma_flops_all, measured, host).get(dtype, 0.0) / host.cores)
        vectors = max(vectors, rate / (2.0 * max(1, host.vector_bits // _BITS[dtype])))
    ports = max(ports, math.ceil(vectors / _FASTEST_CLOCK))
    return max(clock, vectors / ports), ports


def _over_all(table: Mapping[str, float], measured: Measured, host: Host) -> Mapping[str, float]:
    """*table*, if its figures are of all our cores; nothing, if fewer threads were used when they were timed."""
    return table if measured.cores >= host.cores else {}


def _told(source: str) -> Source:
    """What the system said; an estimate where it said nothing."""
    return Source(source, "estimated" if source.endswith("assumed") else "verified")


def _levels(host: Host, clock: float, measured: Measured | None) -> tuple[tuple[MemoryLevel, ...], dict[str, Source]]:
    """L1 to DRAM, each no faster than the one before it, with where the figures come from."""
    levels: list[MemoryLevel] = []
    sources: dict[str, Source] = {}
    vector = host.vector_bits / 8
    whole = single = float("inf")  # of the level before: over all cores, and one core's
    smallest = 0
    for name in [*host.caches, "dram"]:
        size, shared = host.caches.get(name, (host.memory_bytes, True))
        shared = shared or any(level.shared_by == "device" for level in levels)
        one = measured.bandwidth.get(name) if measured is not None else None
        every = _over_all(measured.bandwidth_all, measured, host).get(name) if measured is not None else None
        timed = one is not None or every is not None
        if one is None:
            guess = _DRAM_PER_CORE if name == "dram" else _BYTES_PER_CLOCK.get(name, 0.5) * vector * clock
            one = every / host.cores if every is not None else guess
        every = min(every if every is not None else one * host.cores, whole)
        one = min(one, every, single)
        if not shared:  # each core's own, so all of them together are not slower than one
            one = every / host.cores
        whole, single, smallest = every, one, max(size, smallest)
        levels.append(
            MemoryLevel(
                name=name,
                size_bytes=smallest,
                bandwidth_bytes_per_s=every if shared else one,
                latency_s=_LATENCY_S.get(name, 30e-9),
                shared_by="device" if shared else "unit",
                per_unit_bytes_per_s=one if shared else None,
            )
        )
        sources[f"memory.{name}"] = Source(
            "read loop on this machine" if timed else "vector loads a clock (caches), lines in flight (main memory)",
            "measured" if timed else "estimated",
        )
        sources[f"memory.{name}.size_bytes"] = _told(host.memory_source if name == "dram" else host.caches_source)
        sources[f"memory.{name}.latency_s"] = Source("servers of the last ten years, rounded", "estimated")
    return tuple(levels), sources
