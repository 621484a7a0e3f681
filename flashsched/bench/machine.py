"""The machine that was measured on: what the system says of it, and the limits that were timed there."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from flashsched.bench.cases import Case

if TYPE_CHECKING:
    from flashsched.bench.peers import Peer
    from flashsched.hw import Host, Measured

__all__ = ["Limit", "Machine", "describe"]


@dataclass(frozen=True)
class Limit:
    """What a case can't be faster than: *seconds*, because of *binding* (``"arithmetic"``, or a level of memory)."""

    seconds: float
    binding: str


@dataclass(frozen=True)
class Machine:
    """What results depend on.

    Attributes:
        model: of the processor.
        cores: that could be used.
        threads: that were used.
        isa: the widest vectors that it has.
        caches: bytes of all caches of a level that the threads have together.
        memory: bytes.
        system: the operating system.
        flops: FLOP/s of *threads* cores in a loop of FMAs on registers, by dtype.
        bandwidth: bytes/s that they read together, by level, and the bytes/s of a copy, read and written.
        versions: of the libraries.
    """

    model: str
    cores: int
    threads: int
    isa: str = ""
    caches: Mapping[str, int] = field(default_factory=dict)
    memory: int = 0
    system: str = ""
    flops: Mapping[str, float] = field(default_factory=dict)
    bandwidth: Mapping[str, float] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    def limit(self, case: Case) -> Limit:
        """The limit of *case*: its arithmetic at the FMA peak, or its arrays through the memory that holds them.

        Arrays stay where they are from call to call: as much as fits in the first level, of the rest as much as the
        second has room for beyond that, and so on. No replacement could do better than that, and most do worse.
        """
        arithmetic = Limit(case.flops / self.flops[case.dtype], "arithmetic")
        seconds, held, binding = 0.0, 0, "dram"
        for level, size in [*sorted(self.caches.items()), ("dram", case.bytes)]:
            rates = [rate for name, rate in self.bandwidth.items() if name.removesuffix("_copy") == level]
            if rates and size > held:
                seconds += (min(size, case.bytes) - held) / max(rates)
                held, binding = min(size, case.bytes), level
            if held == case.bytes:
                break
        return max(arithmetic, Limit(seconds, binding), key=lambda limit: limit.seconds)

    def text(self) -> str:
        """One line: processor, threads, limits."""
        rates = [f"FMA peak {self.flops['float32'] / 1e9:.0f} GFLOP/s"]
        memory = [rate for name, rate in self.bandwidth.items() if name.startswith("dram")]
        rates += [f"memory {max(memory) / 1e9:.0f} GB/s"] if memory else []
        threads = "one thread" if self.threads == 1 else f"{self.threads} threads"
        return ", ".join([self.model, threads, *rates])

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Machine:
        """What `to_json` gave."""
        return cls(**data)


def describe(host: Host, measured: Measured, threads: int, peers: Sequence[Peer]) -> Machine:
    """*host* as *threads* threads have it: several cores have as much as so many of one, but not more than all have."""
    used = min(threads, host.cores)

    def together(one: Mapping[str, float], every: Mapping[str, float]) -> dict[str, float]:
        return {key: min(rate * used, every.get(key, rate * used)) if used > 1 else rate for key, rate in one.items()}

    return Machine(
        model=host.model,
        cores=host.cores,
        threads=threads,
        isa=host.isa,
        caches={name: size * (1 if shared else used) for name, (size, shared) in host.caches.items()},
        memory=host.memory_bytes,
        system=f"{platform.system()} {platform.machine()}",
        flops=together(measured.fma_flops, measured.fma_flops_all),
        bandwidth=together(measured.bandwidth, measured.bandwidth_all),
        versions={"python": platform.python_version(), **{peer.package: peer.version for peer in peers}},
    )
