"""What devices share: the constants and the residual that ship where, each device left out, they predict it better."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from flashsched.hw import devices
from flashsched.hw.constants import Section, shared_by
from flashsched.hw.operators import gemm
from flashsched.hw.validation import calibrate
from flashsched.hw.validation.calibrate import fit_families, write_shared
from flashsched.hw.validation.rows import Rows

DEFAULTS = {name: one.default for name, one in gemm.CONSTANTS.items()}
TOLD = DEFAULTS | {name: value for name, value in gemm.KNOWN["tensor"].items() if value is not None}
AMPERE = ("a100-sim", "a100-pcie-40gb-sim", "a100-pcie-80gb-sim")
Habit = Callable[[dict[str, NDArray[np.int64]], np.random.Generator], NDArray[np.float64]]


def measured(name: str, habit: Habit, rows: int = 150) -> Rows:
    """Products as the model times them, by what a fit over devices is told, but for a library's *habit*."""
    draw = np.random.default_rng(sum(name.encode()))
    sizes = {size: 64 * draw.integers(1, 64, rows) for size in ("m", "n", "k")}
    times = gemm.seconds(devices[name], TOLD, "bfloat16", sizes) * np.exp(habit(sizes, draw))
    lines = np.arange(rows)
    return Rows("a.csv", name, "gemm", "bf16", "mine", devices[name], gemm, "bfloat16", sizes, times, lines)


def wide_is_slow(sizes: dict[str, NDArray[np.int64]], draw: np.random.Generator) -> NDArray[np.float64]:
    return np.where(sizes["n"] > 2048, 0.2, 0.0) + draw.normal(0, 0.02, len(sizes["n"]))


def noise(sizes: dict[str, NDArray[np.int64]], draw: np.random.Generator) -> NDArray[np.float64]:
    return draw.normal(0, 0.15, len(sizes["n"]))


@pytest.fixture
def unfitted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Constants stay as they are known, so that a test sees what becomes of residuals alone."""

    def kept(model: Any, samples: Any, known: Any, *rest: Any) -> dict[str, float]:
        return {**DEFAULTS, **known}

    monkeypatch.setattr(calibrate, "fitted_values", kept)
    monkeypatch.setattr(calibrate, "fitted_in", lambda family: {})  # nothing is known of other families


def shared(*groups: Rows) -> Section:
    return fit_families(list(groups), only=["ampere"])["ampere"]["gemm.tensor"]


@pytest.mark.usefixtures("unfitted")
def test_a_habit_that_devices_share_is_known_of_the_one_left_out() -> None:
    found = shared(*(measured(name, wide_is_slow) for name in AMPERE))
    assert found.values is not None
    assert found.values.residual is not None
    for one in found.without.values():
        assert one.residual is not None
        assert one.error_pct is not None
        assert one.error_pct < 5  # by the constants alone it is 9


@pytest.mark.usefixtures("unfitted")
def test_what_each_does_otherwise_is_not_passed_on() -> None:
    found = shared(*(measured(name, lambda sizes, draw, turn=turn: turn * wide_is_slow(sizes, draw))  # type: ignore[misc]
                     for turn, name in zip((1, -1, 0), AMPERE, strict=True)))  # fmt: skip
    assert found.values is not None
    assert found.values.residual is None
    assert all(one.residual is None for one in found.without.values())


def test_defaults_stay_where_a_fit_to_others_is_worse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibrate, "fitted_values", lambda *asked: {**DEFAULTS, "start_us": 20.0})
    monkeypatch.setattr(calibrate, "fitted_in", lambda family: {})  # nothing is known of other families
    groups = [measured(name, noise) for name in AMPERE]
    off = [np.abs(gemm.seconds(one.spec, DEFAULTS, "bfloat16", one.sizes) / one.measured_s - 1) for one in groups]
    found = shared(*groups)
    assert found.values is not None
    assert found.values.values == DEFAULTS
    assert found.values.origin == "the model's defaults"
    assert found.values.tier == "specs"
    assert found.values.error_pct == pytest.approx(100 * np.mean(off))
    assert found.values.rows == 450


def test_what_a_sections_only_family_knows_is_no_habit_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibrate, "fitted_values", lambda *asked: TOLD)
    files = fit_families([measured(name, wide_is_slow) for name in AMPERE])
    general, family = files["defaults"]["gemm.tensor"], files["ampere"]["gemm.tensor"]
    assert general.values is not None
    assert family.values is not None
    assert family.values.residual is not None
    assert general.values.residual is None
    assert general.values.tier == "specs"
    assert general.values.values == family.values.values
    assert general.values.error_pct == family.values.error_pct
    assert not general.without


@pytest.mark.parametrize("apart", [True, False])
def test_a_single_device_tells_its_sisters_nothing_where_its_rows_do_not_predict_each_other(
    apart: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = measured("a100-sim", wide_is_slow)
    off = 2.0 if apart else 1.01
    monkeypatch.setattr(calibrate, "held_out", lambda own, folds: [group.measured_s * off for group in own])
    found = shared(rows)
    assert (found.values is None) == apart
    assert not found.without


@pytest.mark.usefixtures("unfitted")
def test_a_residual_that_ships_no_more_is_taken_away(tmp_path: Path) -> None:
    write_shared("ampere", "gemm.tensor", shared(*(measured(name, wide_is_slow) for name in AMPERE)), tmp_path)
    found = {str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*.json")}
    owners = [shared_by("ampere"), *(shared_by("ampere", without=name) for name in AMPERE)]
    assert found == {f"{owner}.gemm.tensor.json" for owner in owners}
    write_shared("ampere", "gemm.tensor", Section(), tmp_path)
    assert not list(tmp_path.rglob("*.json"))
