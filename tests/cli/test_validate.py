"""``flashsched validate``: a model's own rows come out right, odd files and rows are named, none is lost."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import flashsched as fs
from flashsched.hw import devices, probe_host
from flashsched.hw.operators import elementwise
from flashsched.hw.validation import validate_models

Cli = Callable[..., object]

HEAD = ["device", "dtype", "op", "m", "n", "measured_us", "source"]


def write(path: Path, rows: list[list[object]], head: list[str] = HEAD) -> Path:
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([head, *rows])
    return path


def made(op: str = "add", device: str = "A100-SXM4-80GB", count: int = 60, slower: float = 1.0) -> list[list[object]]:
    """Rows as the model itself has them at constants that are not its defaults, *slower* times as slow."""
    values = {name: one.default for name, one in elementwise.CONSTANTS.items()} | {"stream": 0.7, "start_us": 5.0}
    rng = np.random.default_rng(0)
    m, n = rng.integers(1, 4000, count), rng.integers(1, 4000, count)
    function = np.full(count, [one.name for one in elementwise.FUNCTIONS].index(op))
    sizes = {"m": m, "n": n, "function": function, "warm": np.ones(count, dtype=np.int64)}
    times = elementwise.seconds(devices["a100-sim"], values, "float32", sizes) * slower * 1e6
    return [[device, "fp32", op, int(a), int(b), f"{t:.6f}", "gpubenches"] for a, b, t in zip(m, n, times, strict=True)]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    write(folder / "add.csv", made())
    return folder


def test_a_model_that_can_be_fitted_is_found_to_be_right_and_the_roofline_is_not(cli: Cli, data: Path) -> None:
    done = cli("validate", "--data", data, "--json")
    assert done.code == 0, done.err
    scores = {each["tier"]: each for each in json.loads(done.out)["scores"] if each["times"] == "all" and each["spec"]}
    assert scores["calibrated"]["mape_pct"] < 2
    assert scores["calibrated"]["spearman"] > 0.999
    assert scores["roofline"]["mape_pct"] > 20
    assert scores["calibrated"]["rows"] == 60


def test_the_table_has_a_line_for_the_device(cli: Cli, data: Path) -> None:
    done = cli("validate", "--data", data, "--by-size")
    assert done.code == 0
    assert "A100-SXM4-80GB" in done.out
    assert "10 to 100 us" in done.out


def test_every_prediction_can_be_written_as_csv(cli: Cli, data: Path, tmp_path: Path) -> None:
    done = cli("validate", "--data", data, "--rows", tmp_path / "out.csv", "--plot", tmp_path / "out.html")
    assert done.code == 0
    with (tmp_path / "out.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == [
        "file", "row", "device", "op", "dtype", "measured_us", "predicted_us", "roofline_us", "tier"
    ]  # fmt: skip
    calibrated = [row for row in rows if row["tier"] == "calibrated"]
    assert sorted(int(row["row"]) for row in calibrated) == list(range(2, 62))  # the line in the file
    assert all(float(row["predicted_us"]) >= float(row["roofline_us"]) for row in rows)
    assert "<svg" in (tmp_path / "out.html").read_text()


def test_a_calibrated_row_is_predicted_by_a_fit_that_did_not_see_it(data: Path) -> None:
    """Rows of one length that take five times as long cannot pull their own predictions along."""
    rows = [[*row[:3], 1 + int(row[3]) * int(row[4]) // 1000, 1000, *row[5:]] for row in made(count=12, slower=5.0)]
    write(data / "slow.csv", rows)
    df = fs.validate(data, rows=True)
    slow = df[(df["file"] == "slow.csv") & (df["tier"] == "calibrated")]
    assert len(slow) == 12
    assert (slow["predicted_us"] < 0.8 * slow["measured_us"]).all()


def test_one_device_can_be_chosen_by_our_name_or_the_tables(data: Path) -> None:
    write(data / "other.csv", made(device="V100-SXM2"))
    for name in ("a100-sim", "A100-SXM4-80GB", "nvidia-a100"):
        assert set(fs.validate(data, device=name, rows=True)["device"]) == {"A100-SXM4-80GB"}


def test_what_has_no_device_no_model_or_no_sizes_is_counted_and_named(cli: Cli, data: Path) -> None:
    write(data / "a.csv", [["Voodoo2", "fp32", "add", 8, 8, 1.0, "x"]] * 3)
    write(data / "b.csv", [["A100-SXM4-80GB", "fp32", "sort", 8, 8, 1.0, "x"]] * 4)
    write(data / "c.csv", [["A100-SXM4-80GB", "fp9", "add", 8, 8, 1.0, "x"]] * 5)
    write(
        data / "d.csv",
        [["A100-SXM4-80GB", "fp32", "softmax", 1.0, "x"]] * 6,
        ["device", "dtype", "op", "measured_us", "source"],
    )
    write(data / "e.csv", [["A100-SXM4-80GB", "fp32", "add", 8, 8, "fast", "x"]] * 7)
    (data / "f.csv").write_text("device,op\nA100,add\n")
    (data / "g.csv").write_bytes(b"\xff\xfe\x00binary")
    (data / "h.csv").write_text((data / "add.csv").read_text() + "A100-SXM4-80GB,fp32,add\n")
    done = cli("validate", "--data", data)
    assert done.code == 0
    for said in (
        "3 rows left out: no device is called 'Voodoo2'",
        "4 rows left out: there is no model of 'sort' on a gpu",
        "5 rows left out: dtype 'fp9' is not known",
        "6 rows left out: d.csv: 'softmax' needs the column",
        "e.csv is not read: no row of it can be used",
        "f.csv is not read: it has no column measured_us",
        "g.csv is not read: it is no CSV text",
        "1 rows left out: h.csv: they have more or fewer fields than the head, the first in line 62",
    ):
        assert said in done.out, said


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "it is empty"),
        ("device,op\na,b\n", "it has no column measured_us"),
        ("device,op,measured_us\na,b,-1\n", "no row of it can be used"),
        ("device,op,measured_us\na,b,nan\n", "no row of it can be used"),
        ("device,op,measured_us\nVoodoo,b,1\n", "no device is called 'Voodoo'"),
    ],
)
def test_a_file_without_a_row_to_use_is_refused_with_the_reason(cli: Cli, tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "odd.csv").write_text(text)
    done = cli("validate", "--data", tmp_path / "odd.csv")
    assert done.code == 2
    assert says in done.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--data", "nowhere"], "there is no nowhere"),
        (["--data", "."], "there is no CSV file in ."),
        ([], "Missing option '--data'"),
        (["--data", ".", "--folds", "1"], "is not in the range 2<=x<=50"),
        (["--data", ".", "--plot", "x.png"], "--plot writes a page (.html), not .png"),
    ],
)
def test_wrong_usage_is_told(cli: Cli, arguments: list[str], says: str) -> None:
    done = cli("validate", *arguments)
    assert done.code == 2
    assert says in done.err


def test_the_dataframe_has_a_row_for_each_tier_and_says_what_was_left_out(data: Path) -> None:
    write(data / "a.csv", [["Voodoo2", "fp32", "add", 8, 8, 1.0, "x"]])
    df = fs.validate(data)
    assert {"calibrated", "roofline"} <= set(df["tier"])
    assert df.attrs["notes"] == ["1 rows left out: no device is called 'Voodoo2'"]


def test_what_was_kept_of_held_out_rows_is_what_was_found(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda *_, **__: str(tmp_path / "cache"))
    first = validate_models(data).predicted_s["calibrated"]
    (kept,) = (tmp_path / "cache").rglob("*.times")
    assert np.array_equal(np.concatenate(first), np.frombuffer(kept.read_bytes()))
    again = validate_models(data).predicted_s["calibrated"]
    assert all(np.array_equal(one, other) for one, other in zip(first, again, strict=True))
    kept.write_bytes(b"damaged")
    repaired = validate_models(data).predicted_s["calibrated"]
    assert np.array_equal(np.concatenate(repaired), np.concatenate(first))
    write(data / "add.csv", made(slower=2.0))
    assert np.median(np.concatenate(validate_models(data).predicted_s["calibrated"]) / np.concatenate(first)) > 1.5


def test_many_rows_on_several_processes_are_predicted_as_by_one(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(data / "other.csv", made(device="V100-PCIE-32GB"))
    monkeypatch.setattr("flashsched.hw.validation.run.kept_times", lambda *_: None)
    monkeypatch.setattr("flashsched.hw.validation.fit.kept_fit", lambda *_: None)
    alone = validate_models(data).predicted_s["calibrated"]
    monkeypatch.setattr("flashsched.hw.validation.run._WORTH_PROCESSES", 1)
    two_cores = replace(probe_host(), cores=2)
    monkeypatch.setattr("flashsched.hw.validation.parallel.probe_host", lambda: two_cores)
    apart = validate_models(data).predicted_s["calibrated"]
    assert all(np.array_equal(one, other) for one, other in zip(alone, apart, strict=True))


def test_rows_of_a_device_that_nobody_knows_ask_for_its_file(tmp_path, cli: Cli):
    data = write(tmp_path / "a.csv", made(device="my-board"))
    done = cli("validate", "--data", str(data), "--device", "my-board")
    assert done.code == 2
    assert "no device is called 'my-board'; give the file of it, e.g. my-board.toml" in done.err
