"""``flashsched calibrate``: constants that made the data are found again, and are used from then on."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from flashsched.hw import devices
from flashsched.hw.constants import own_constants
from flashsched.hw.operators import estimate, softmax

Cli = Callable[..., object]

TRUE = {"start_us": 9.0, "row_us": 12.0, "step_us": 3.0}


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


def test_rows_that_teach_nothing_are_left_out_with_both_errors(cli: Cli, tmp_path: Path) -> None:
    noise = tmp_path / "noise.csv"
    rows = [f"A100,fp32,softmax,4096,{1024 + 64 * n},{40 if n % 2 else 4000}" for n in range(12)]
    noise.write_text("\n".join(["device,dtype,op,m,n,measured_us", *rows]))
    done = cli("calibrate", "--device", "a100-sim", "--data", noise)
    assert done.code == 2
    assert "predict the others worse than what was known before" in done.err


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


BOARD = """base = "a100"
name = "my-board-sim"
aliases = ["board-7"]
power_w = 250
calibration = "constants/board.toml"

[sources]
power_w = "measured: nvidia-smi"
"""


def test_from_a_calibration_to_a_device_of_ones_own(cli: Cli, data: Path, tmp_path: Path) -> None:
    """Measured, calibrated, then simulated, compared and tuned for, by the device's file alone."""
    board = tmp_path / "my-board.toml"
    board.write_text(BOARD)
    data.write_text(data.read_text().replace("A100,", "board-7,"))
    softmax_words = ("softmax", "--shape", "30000,5000")

    done = cli("devices", "--check", board)
    assert done.code == 2
    assert "names a calibration that cannot be read" in done.err
    assert "flashsched calibrate --device FILE.toml" in done.err
    assert cli("simulate", *softmax_words, "--device", board).code == 2

    done = cli("calibrate", "--device", board, "--data", data)
    assert done.code == 0, done.err
    assert (tmp_path / "constants" / "board.toml").is_file()
    assert "every prediction for the device uses it" in done.out
    assert cli("devices", "--check", board).code == 0

    mine = json.loads(cli("simulate", *softmax_words, "--device", board, "--json").out)
    assert (mine["how"], mine["tier"]) == ("library", "calibrated")
    assert mine["error_pct"] < 2
    values = {name: one.default for name, one in softmax.CONSTANTS.items()} | TRUE
    true = softmax.seconds(devices["a100-sim"], values, "float32", {"m": np.array([30000]), "n": np.array([5000])})
    assert mine["time_s"] == pytest.approx(true[0], rel=0.03)

    table = json.loads(cli("compare", *softmax_words, "--devices", f"{board},a100-sim", "--json").out)["devices"]
    by_name = {row["device"]: row for row in table}
    assert by_name["my-board-sim"]["time_s"] == pytest.approx(mine["time_s"])
    assert by_name["my-board-sim"]["tier"] == "calibrated"

    done = cli("tune", "relu", "--shape", "64,64", "--device", board, "--trials", "1", "--log", "x.jsonl", "-q")
    assert done.code == 0, done.err
    assert cli("validate", "--data", data, "--device", board).code == 0


def test_a_calibration_of_another_device_is_refused(cli: Cli, data: Path, tmp_path: Path) -> None:
    board = tmp_path / "my-board.toml"
    board.write_text(BOARD)
    assert cli("calibrate", "--device", "a100-sim", "--data", data, "--out", "constants/board.toml").code == 0
    done = cli("devices", "--check", board)
    assert done.code == 2
    assert "is a calibration of a100-sim, and my-board-sim names it as its own" in done.err


def test_rows_of_ones_own_device_bear_its_name(cli: Cli, data: Path, tmp_path: Path) -> None:
    board = tmp_path / "my-board.toml"
    board.write_text(BOARD)
    done = cli("calibrate", "--device", board, "--data", data)
    assert done.code == 2
    assert "holds no measurement of my-board-sim" in done.err
    assert "its rows are of A100" in done.err
