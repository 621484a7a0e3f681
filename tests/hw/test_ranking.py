"""Which of two devices is faster: counted where a source timed both on the same work and they are apart."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from flashsched.hw.validation import Validation
from flashsched.hw.validation.ranking import Ranked, ranked
from flashsched.hw.validation.rows import read_rows
from flashsched.hw.validation.tables import Notes

SIZES = (256, 512, 1024, 2048)


def outcome(
    tmp_path: Path, times: dict[str, tuple[float, ...]], predicted: dict[str, tuple[float, ...]], source: str = "mine"
) -> Validation:
    """Square products on some devices, *times* by device as measured and *predicted* in one tier, microseconds."""
    head = ["device", "dtype", "op", "m", "n", "k", "measured_us", "source"]
    for name, column in times.items():
        own = f"{source} {name}" if source == "each its own" else source
        rows = [[name, "bf16", "gemm", size, size, size, time, own] for size, time in zip(SIZES, column, strict=True)]
        with (tmp_path / f"{name}.csv").open("w", newline="") as stream:
            csv.writer(stream).writerows([head, *rows])
    groups, _ = read_rows(tmp_path)
    tables = [np.array(predicted[group.device]) * 1e-6 for group in groups]
    return Validation(groups, {"specs": tables}, [np.full(4, 1e-6) for _ in groups], Notes())


def specs_of(found: Validation) -> Ranked | None:
    return next((each for each in ranked(found) if (each.operation, each.tier) == ("gemm", "specs")), None)


A100, H100 = (9.0, 20.0, 100.0, 900.0), (6.0, 19.0, 50.0, 300.0)


def test_pairs_that_are_apart_count_and_the_right_ones_are_told(tmp_path: Path) -> None:
    found = outcome(tmp_path, {"a100": A100, "h100": H100}, {"a100": (9, 9, 40, 900), "h100": (6, 60, 50, 500)})
    assert specs_of(found) == Ranked("gemm", "specs", 3, 66.7)  # 20 and 19 are one time; 40 and 50 the wrong way round


def test_three_devices_are_three_pairs_at_each_size(tmp_path: Path) -> None:
    measured = {"a100": A100, "h100": H100, "b200": (3.0, 5.0, 20.0, 100.0)}
    assert specs_of(outcome(tmp_path, measured, measured)) == Ranked("gemm", "specs", 11, 100.0)


def test_what_two_sources_timed_is_not_compared(tmp_path: Path) -> None:
    measured = {"a100": A100, "h100": H100}
    assert ranked(outcome(tmp_path, measured, measured, source="each its own")) == []


@pytest.mark.parametrize("missing", ["a100", "h100"])
def test_a_device_without_a_prediction_is_in_no_pair(tmp_path: Path, missing: str) -> None:
    measured = {"a100": A100, "h100": H100}
    found = outcome(tmp_path, measured, {**measured, missing: (np.nan,) * 4})
    assert specs_of(found) is None
