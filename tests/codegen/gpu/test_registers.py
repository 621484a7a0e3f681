"""Registers: what is estimated of a kernel, held against what the assembler counts."""

from __future__ import annotations

import statistics
from typing import Any

import pytest

from flashsched.codegen.analysis import nest_works, simulate
from flashsched.codegen.analysis.compiled import assembled, simulate_compiled
from flashsched.codegen.gpu import ptxas as ptxas_module
from flashsched.hw.registry import devices

SPEC = devices["a100-sim"]
TEMPLATES: list[tuple[str, tuple[int, ...]]] = [
    ("matmul", (512, 512, 512)),
    ("add", (64, 1024)),
    ("conv2d", (1, 32, 28, 28, 64, 3, 1, 1)),
]


def test_the_estimate_is_near_what_ptxas_counts(candidates: Any, ptxas: str) -> None:
    """Over templates and knobs it is 20 to 25 % off (median 20), in steps of 8 registers."""
    errors = []
    for op, shape in TEMPLATES:
        for candidate in candidates(op, shape, "a100-sim", 4):
            (work,) = nest_works(candidate.schedule, SPEC)
            found = assembled(candidate.schedule, SPEC)
            assert not isinstance(found, str)
            errors.append(abs(work.registers_per_thread / found[0].registers - 1))
    assert statistics.median(errors) < 0.35
    assert max(errors) < 1.5


def test_the_model_goes_by_what_was_counted(candidates: Any, ptxas: str) -> None:
    (candidate,) = candidates("matmul", (512, 512, 512), "a100-sim", 1)
    prediction, told = simulate_compiled(candidate.schedule, SPEC)
    found = assembled(candidate.schedule, SPEC)
    assert not isinstance(found, str)
    assert told.startswith(f"{found[0].registers} a thread by ptxas for sm_80")
    assert prediction.time_s == simulate(candidate.schedule, SPEC, [found[0].registers]).time_s
    (large,) = candidates("matmul", (4096, 4096, 4096), "a100-sim", 1)
    few, many = (simulate(large.schedule, SPEC, [registers]) for registers in (32, 255))
    assert few.occupancy is not None
    assert many.occupancy is not None
    assert few.occupancy > many.occupancy


def test_without_the_assembler_it_says_so(candidates: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLASHSCHED_PTXAS", "/nowhere/ptxas")
    ptxas_module.find_ptxas.cache_clear()
    try:
        (candidate,) = candidates("add", (64, 1024), "a100-sim", 1)
        prediction, told = simulate_compiled(candidate.schedule, SPEC)
        assert told.endswith("a thread, estimated (ptxas is not installed)")
        assert prediction.time_s == simulate(candidate.schedule, SPEC).time_s
    finally:
        ptxas_module.find_ptxas.cache_clear()
