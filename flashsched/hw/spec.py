"""What a device is, as numbers: units, clock, peaks, memory levels, limits, and where each figure comes from.

A spec is data and nothing else: how long work takes on it is for the models beside it (``gpu.py``, ``cpu.py``, …),
which figures contradict each other is for ``check.py``, and its TOML form is for ``spec_file.py``.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from flashsched.errors import DeviceError, did_you_mean
from flashsched.hw.check import check_spec

__all__ = ["AsicUnit", "CpuUnit", "DeviceSpec", "GpuUnit", "MemoryLevel", "Source", "Status", "SystolicUnit"]

Status = Literal["verified", "derived", "measured", "estimated", "unverified"]
"""How far a figure is trusted: read in its source | computed from such figures | timed on a device | a stated rule of
thumb | recalled and not checked."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a figure comes from, and how far it is trusted."""

    text: str
    status: Status = "unverified"

    def __str__(self) -> str:
        return f"{self.status}: {self.text}"


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryLevel:
    """One level of the memory hierarchy.

    ``size_bytes``, ``bandwidth_bytes_per_s`` (reads, at the peak clock) and ``latency_s`` (of a dependent load) are of
    one instance: of one unit's where ``shared_by`` is "unit", of the whole device's where it is "device".
    ``sustained`` is the share of that bandwidth which a well-written streaming kernel reaches, and
    ``per_unit_bytes_per_s`` the most that one unit draws from a level shared by the device (None: all of it).
    """

    name: str
    size_bytes: int
    bandwidth_bytes_per_s: float
    latency_s: float
    shared_by: Literal["device", "unit"]
    sustained: float = 1.0
    per_unit_bytes_per_s: float | None = None

    def drawn_by(self, units: float) -> float:
        """Bytes per second that *units* active units draw from this level together, when streaming well."""
        if self.shared_by == "unit":
            return self.bandwidth_bytes_per_s * self.sustained * units
        whole = self.bandwidth_bytes_per_s * self.sustained
        return whole if self.per_unit_bytes_per_s is None else min(whole, self.per_unit_bytes_per_s * units)


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuUnit:
    """One unit of a GPU (an SM, a compute unit, an Apple GPU core); memory sizes are in ``DeviceSpec.memory``.

    ``registers`` counts 32-bit registers of a unit, handed out to a warp in steps of ``register_granularity``.
    ``shared_reserved_bytes`` is what the system takes of the shared memory for each block.
    ``dispatch`` is how many instructions a scheduler starts in a clock.
    ``special_per_clock`` counts transcendental results per clock, ``fma_latency_cycles`` is a dependent FMA's latency.
    ``matrix_macs_per_clock`` counts dense 16-bit multiply-adds per clock of the unit's matrix units together, and
    ``matrix_shape`` is the (m, n, k) of one of their instructions on 16-bit operands; None where there are none.
    ``coalesced_units`` is how many units' requests for the same line reach L2 as one, where tiles are copied in step.
    """

    warp_size: int
    schedulers: int
    registers: int
    max_registers_per_thread: int
    shared_bytes_per_block: int
    max_threads: int
    max_threads_per_block: int
    max_blocks: int
    special_per_clock: float
    fma_latency_cycles: float
    dispatch: int = 1
    register_granularity: int = 256
    shared_reserved_bytes: int = 0
    matrix_macs_per_clock: int | None = None
    matrix_shape: tuple[int, ...] | None = None
    coalesced_units: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuUnit:
    """One core: vector width, vector registers, FMA ports and their latency, and instructions issued per clock.

    ``matrix_macs_per_clock`` counts multiply-adds per clock of a core's matrix unit on operands of
    ``matrix_operand_bits`` bits: 16 on Intel's AMX, 32 on Apple's, which a cluster's cores share (theirs over the
    cores); None where there is none. ``numa_nodes`` is how many memories the cores are divided among (sockets, mostly);
    None means one.
    """

    vector_bits: int
    vector_registers: int
    fma_ports: int
    fma_latency_cycles: float
    issue_width: int
    matrix_macs_per_clock: int | None = None
    matrix_operand_bits: int | None = None
    numa_nodes: int | None = None

    def lanes(self, bits: int) -> int:
        """Elements of *bits* bits in a vector register, at least one."""
        return max(1, self.vector_bits // bits)


@dataclass(frozen=True, slots=True, kw_only=True)
class SystolicUnit:
    """One unit built around systolic arrays (a TensorCore of a TPU): the shape of an array, how many, the vector unit.

    ``vector_sublanes`` x ``vector_lanes`` 32-bit words are one vector register: the last two dimensions of an array are
    padded to them. ``vector_ops_per_clock`` counts 32-bit operations of the whole vector unit in a clock.
    ``float32_passes`` is how many times operands go through the array to be multiplied as float32 (None: it can't).
    """

    rows: int
    columns: int
    arrays: int
    vector_ops_per_clock: int
    vector_sublanes: int = 8
    vector_lanes: int = 128
    float32_passes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AsicUnit:
    """One unit of an accelerator at the edge: an array of ``rows`` x ``columns`` multiply-adders, ``arrays`` of them.

    ``weight_bytes`` is how much of the on-chip memory keeps parameters from one call to the next; what is beyond it
    comes over the link each time. ``vector_ops_per_clock`` counts activations and additions in a clock.
    """

    rows: int
    columns: int
    arrays: int
    weight_bytes: int
    vector_ops_per_clock: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceSpec:
    """A device as its data sheet and its micro-benchmarks describe it; an inconsistent one cannot be made.

    Attributes:
        name: what people and logs call it; a simulated device's ends in ``-sim``.
        title: the product's full name.
        kind: "gpu", "cpu", "tpu" or "asic"; it says which of ``gpu``, ``cpu``, ``systolic``, ``asic`` describes a unit.
        units: SMs, compute units, cores or TensorCores.
        clock_hz: the clock at which the peaks hold; ``sustained_clock`` is the share of it that dense arithmetic
            keeps within the power limit (a GPU's is worked out from ``power_w`` and ``process_nm``).
        peaks: FLOP/s (OP/s for integers) of the whole device, dense, by dtype; a fused multiply-add counts as two.
            "float32" means IEEE fp32 on the plain cores; "tf32", "bfloat16", … are asked for by name.
        accumulate: the dtype that sums are kept in at those peaks, where it is not the usual one: float32 for floats
            of up to 32 bits, int32 for integers.
        memory: the levels, nearest to the arithmetic first, DRAM last.
        launch_s: time to start a kernel that does nothing (for a CPU: to fork and join its threads).
        power_w, idle_power_w: board or package power at full load and at rest, watts; None where unknown.
        process_nm: the name of the process that its arithmetic is made in, as nanometres: what an operation costs.
        host_link_bytes_per_s: to and from the host, per direction; None where host and device share memory.
        interconnect_bytes_per_s: to other devices of its kind (NVLink, XGMI, ICI), all links together, per direction.
        measured: the figures were timed on this very machine.
        calibration: a file of constants that ``flashsched calibrate`` fits to measurements of the device; None: those
            in the user's data folder, if there are any. What a file of the device says is found from where it lies.
        sources: by field (``"peaks.float32"``, ``"memory.l2"``, ``"gpu"``); the longest matching name counts.

    Raises:
        DeviceError: a figure is out of range or contradicts another.
    """

    name: str
    kind: str
    units: int
    clock_hz: float
    peaks: Mapping[str, float]
    memory: tuple[MemoryLevel, ...]
    launch_s: float
    title: str = ""
    vendor: str = ""
    architecture: str = ""
    gpu: GpuUnit | None = None
    cpu: CpuUnit | None = None
    systolic: SystolicUnit | None = None
    asic: AsicUnit | None = None
    accumulate: Mapping[str, str] = field(default_factory=dict)
    sustained_clock: float = 1.0
    power_w: float | None = None
    idle_power_w: float | None = None
    process_nm: float | None = None
    host_link_bytes_per_s: float | None = None
    interconnect_bytes_per_s: float | None = None
    aliases: tuple[str, ...] = ()
    measured: bool = False
    calibration: str | None = None
    sources: Mapping[str, Source] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_spec(self)

    def __hash__(self) -> int:
        return hash((self.name, self.fingerprint))

    @property
    def dram(self) -> MemoryLevel:
        """The last level: the device's main memory."""
        return self.memory[-1]

    @property
    def fingerprint(self) -> str:
        """Twelve hex digits that change with any figure, and with nothing else (names, sources)."""
        figures = dataclasses.replace(self, name="fingerprint-sim", title="", vendor="", architecture="", aliases=(),
                                      measured=False, calibration=None, sources={})  # fmt: skip
        return hashlib.sha256(figures.to_toml().encode()).hexdigest()[:12]

    def level(self, name: str) -> MemoryLevel:
        """The memory level called *name*; raises DeviceError with the nearest names."""
        for level in self.memory:
            if level.name == name:
                return level
        known = [level.name for level in self.memory]
        raise DeviceError(f"device '{self.name}' has no memory level '{name}'", hint=did_you_mean(str(name), known))

    def peak(self, dtype: str) -> float:
        """Peak FLOP/s for *dtype*, an unsigned integer's being the signed one's.

        Raises:
            DeviceError: the device has no such arithmetic.
        """
        dtype = str(dtype)  # NumPy's own are welcome
        found = self.peaks.get(dtype, self.peaks.get(dtype.removeprefix("u")))
        if found is None:
            raise DeviceError(
                f"device '{self.name}' has no peak for {dtype}", hint=f"it has {', '.join(sorted(self.peaks))}"
            )
        return found

    def accumulates(self, dtype: str) -> str:
        """The dtype that sums of *dtype* products are kept in at its peak."""
        usual = "int32" if "int" in dtype else "float64" if dtype == "float64" else "float32"
        return self.accumulate.get(dtype, usual)

    def source_of(self, field_name: str) -> Source:
        """Where the figure of *field_name* (``"memory.l2.size_bytes"``) comes from."""
        parts = field_name.split(".")
        for stop in range(len(parts), 0, -1):
            found = self.sources.get(".".join(parts[:stop]))
            if found is not None:
                return found
        return Source("no source is stated", "unverified")

    def replace(self, **changes: object) -> DeviceSpec:
        """The same device with some figures changed; the parts of a table may be given alone.

        ``replace(units=54)`` and ``replace(clock_hz=1.2e9)`` scale the peaks, and the on-chip bandwidths with the
        clock, as building the device that way would. ``replace(peaks={"float32": 1e13})`` and
        ``replace(memory={"dram": {"bandwidth_bytes_per_s": 1e12}})``, ``replace(gpu={"max_blocks": 16})`` change one
        figure of a table. The name tells the change (``a100-sim[units=54]``) unless one is given, so that a tuning log
        never mistakes one device for the other.

        Raises:
            DeviceError: an unknown field, or figures that contradict each other.
        """
        from flashsched.hw.change import changed

        return changed(self, changes)

    @classmethod
    def from_toml(cls, path: str | Path) -> DeviceSpec:
        """Read a device from a TOML file (see ``specs/a100.toml`` for one with comments).

        Raises:
            DeviceError: the file cannot be read, has unknown or missing fields, or figures that contradict each other.
        """
        from flashsched.hw.spec_file import read_spec

        return read_spec(Path(path))

    def to_toml(self) -> str:
        """The spec as TOML text, which ``from_toml`` reads back to an equal spec."""
        from flashsched.hw.spec_file import write_spec

        return write_spec(self)

    def describe(self) -> str:
        """The spec as text for people: every figure with its unit and how far it is trusted."""
        from flashsched.hw.describe import describe

        return describe(self)
