"""``flashsched calibrate``: constants that made the data are found again, and are used from then on."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from flashsched.hw import devices
from flashsched.hw.constants import own_constants
from flashsched.hw.operators import estimate, softmax

Cli = Callable[..., object]

TRUE = {"stream": 0.7, "start_us": 9.0, "row_us": 12.0, "step_us": 3.0}


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Softmax on an A100 whose constants are `TRUE`; the user's constants are kept in a folder of the test's."""
    monkeypatch.setenv("FLASHSCHED_CONSTANTS", str(tmp_path / "constants"))
    values = {name: one.default for name, one in softmax.CONSTANTS.items()} | TRUE
    rng = np.random.default_rng(1)
    m, n = rng.integers(1, 30_000, 150), rng.integers(1025, 9000, 150)
    times = softmax.seconds(devices["a100-sim"], values, "float32", {"m": m, "n": n})
    times *= rng.normal(1.0, 0.01, len(times))
    path = tmp_path / "softmax.csv"
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["device", "dtype", "op", "m", "n", "measured_us", "source"])
        writer.writerows(["A100", "fp32", "softmax", a, b, t * 1e6, ""] for a, b, t in zip(m, n, times, strict=True))
    return path


def test_the_constants_that_made_the_data_are_found_again(cli: Cli, data: Path, tmp_path: Path) -> None:
    done = cli("calibrate", "--device", "a100-sim", "--data", data, "--out", tmp_path / "mine.toml")
    assert done.code == 0, done.err
    found = own_constants(tmp_path / "mine.toml")["softmax"].devices["a100-sim"]
    assert found.tier == "calibrated"
    assert found.rows == 150
    assert found.error_pct is not None
    assert found.error_pct < 2
    for name, value in TRUE.items():
        assert found.values[name] == pytest.approx(value, rel=0.25), name
    assert "% " in done.out


def test_a_calibration_is_used_from_then_on(cli: Cli, data: Path) -> None:
    sizes = {"m": [30_000], "n": [5000]}
    before, _ = estimate(devices["a100-sim"], "softmax", "float32", sizes)
    assert cli("calibrate", "--device", "nvidia-a100", "--data", data).code == 0
    after, fitted = estimate(devices["a100-sim"], "softmax", "float32", sizes)
    assert fitted.tier == "calibrated"
    assert after[0] > 1.05 * before[0]
    assert "150 held-out" not in estimate(devices["v100-sim"], "softmax", "float32", sizes)[1].band


def test_too_few_rows_are_refused(cli: Cli, data: Path, tmp_path: Path) -> None:
    few = tmp_path / "few.csv"
    few.write_text("\n".join(data.read_text().splitlines()[:6]))
    done = cli("calibrate", "--device", "a100-sim", "--data", few)
    assert done.code == 2
    assert "no operation of a100-sim" in done.err
    assert "5 rows are too few" in done.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--device", "a100-sim", "--data", "nowhere"], "there is no nowhere"),
        (["--device", "a100-sim"], "Missing option '--data'"),
        (["--device", "voodoo", "--data", "."], "unknown device 'voodoo'"),
    ],
)
def test_wrong_usage_is_told(cli: Cli, arguments: list[str], says: str) -> None:
    done = cli("calibrate", *arguments)
    assert done.code == 2
    assert says in done.err


def test_rows_of_another_device_are_no_calibration(cli: Cli, data: Path) -> None:
    done = cli("calibrate", "--device", "v100-sim", "--data", data)
    assert done.code == 2
    assert "holds no measurement of v100-sim" in done.err
