"""The machine's peaks, when a kernel beats them: then they were measured wrongly, beside other work for instance."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import replace

from flashsched.hw import DeviceSpec, host_spec, load_measured, save_measured
from flashsched.tune.measuring.cpu_runner import CpuRunner
from flashsched.tune.trial import Runner

__all__ = ["measured_again", "too_good"]

_NOISE = 1.04  # over 100 % of the roofline: what medians of good kernels scatter, and peaks with them


def too_good(runner: Runner, roofline_s: float, best_s: float) -> bool:
    """Whether *best_s* beats the roofline of this machine by more than noise.

    Never for a fleet, a table or a GPU: what could be measured again here is not what measured there.
    """
    return isinstance(runner, CpuRunner) and runner.spec.kind == "cpu" and roofline_s > _NOISE * best_s


def measured_again() -> DeviceSpec:
    """This machine, measured now, and kept for later runs where that is possible; each figure is the higher of the new
    and the kept one.

    A figure of a machine can come out too low, when something else runs on it, and never too high.
    """
    from flashsched.codegen.probe import measure

    new, old = measure(), load_measured()
    if old is not None and old.cores == new.cores:
        new = replace(
            new,
            fma_flops=_higher(new.fma_flops, old.fma_flops),
            fma_flops_all=_higher(new.fma_flops_all, old.fma_flops_all),
            bandwidth=_higher(new.bandwidth, old.bandwidth),
            bandwidth_all=_higher(new.bandwidth_all, old.bandwidth_all),
        )
    with contextlib.suppress(OSError):
        save_measured(new)
    return host_spec(new)


def _higher(one: Mapping[str, float], other: Mapping[str, float]) -> dict[str, float]:
    return {name: max(one.get(name, 0.0), other.get(name, 0.0)) for name in {**one, **other}}
