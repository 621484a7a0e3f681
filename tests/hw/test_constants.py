"""Fitted constants: found by tier, kept in range, refused when torn."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import flashsched.hw.constants as module
from flashsched.errors import DeviceError
from flashsched.hw import DeviceSpec, devices
from flashsched.hw.constants import (
    Constant,
    Fitted,
    Section,
    constants_for,
    family_of,
    fitted_in,
    own_constants,
    parse_fitted,
)
from flashsched.hw.validation.files import change_sections

CONSTANTS = {"start_us": Constant(2.0, 0.5, 20.0, "us", "time of an empty kernel")}

AMPERE = """
["gemm.tensor"]
tier = "family"
error_pct = 9.0
rows = 100
values = { start_us = 3.0 }
["gemm.tensor".devices."a100-sim"]
tier = "calibrated"
error_pct = 5.0
rows = 60
values = { start_us = 4.0 }
["gemm.tensor".without."a100-sim"]
tier = "family"
values = { start_us = 5.0 }
"""
DEFAULTS = """
["gemm.tensor"]
values = { start_us = 6.0 }
["gemm.tensor".without.ampere]
values = { start_us = 7.0 }
"""


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = {"ampere": AMPERE, "defaults": DEFAULTS}
    monkeypatch.setattr(module, "fitted_in", lambda family: parse_fitted(texts.get(family, ""), family))


def start(spec: DeviceSpec, **options: object) -> tuple[float, str]:
    found = constants_for(spec, "gemm.tensor", CONSTANTS, **options)  # type: ignore[arg-type]
    return found.values["start_us"], found.tier


@pytest.mark.usefixtures("files")
def test_the_nearest_measurements_win_and_each_tier_can_be_asked_for() -> None:
    a100 = devices["a100-sim"]
    assert start(a100) == (4.0, "calibrated")
    assert start(a100, tier="calibrated") == (4.0, "calibrated")
    assert start(a100, tier="family") == (5.0, "family")  # of the others alone
    assert start(a100, tier="specs") == (7.0, "specs")  # of other families alone
    assert start(devices["v100-sim"]) == (6.0, "specs")


@pytest.mark.usefixtures("files")
def test_what_was_never_held_out_has_the_error_of_those_who_knew_less(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = {"ampere": AMPERE, "defaults": DEFAULTS + "error_pct = 14.5\nrows = 77\n"}
    monkeypatch.setattr(module, "fitted_in", lambda family: parse_fitted(texts.get(family, ""), family))
    found = constants_for(devices["a100-sim"], "gemm.tensor", CONSTANTS, tier="family")
    assert (found.values["start_us"], found.tier, found.error_pct) == (5.0, "family", None)
    texts["ampere"] = AMPERE.replace('.devices."a100-sim"', '.devices."a40-sim"').replace("error_pct = 9.0", "")
    found = constants_for(devices["a100-sim"], "gemm.tensor", CONSTANTS)
    assert (found.values["start_us"], found.tier, found.error_pct, found.rows) == (5.0, "family", 14.5, 77)


@pytest.mark.parametrize(("error", "expected"), [(8.9, (7.0, "specs")), (9.1, (3.0, "family"))])
def test_a_family_that_misleads_its_sisters_gives_way(
    monkeypatch: pytest.MonkeyPatch, error: float, expected: tuple[float, str]
) -> None:
    texts = {"ampere": AMPERE, "defaults": f"{DEFAULTS}error_pct = {error}\nrows = 77\n"}
    monkeypatch.setattr(module, "fitted_in", lambda family: parse_fitted(texts.get(family, ""), family))
    sister = devices["a100-sim[units=54]"]
    assert start(sister) == expected
    assert start(sister, tier="family") == (3.0, "family")


def test_what_the_only_family_has_taught_is_not_said_of_it_as_if_by_others(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = {"ampere": AMPERE, "defaults": '["gemm.tensor"]\nvalues = { start_us = 6.0 }'}
    monkeypatch.setattr(module, "fitted_in", lambda family: parse_fitted(texts.get(family, ""), family))
    assert start(devices["a100-sim"], tier="specs") == (2.0, "specs")  # the model's default
    assert start(devices["v100-sim"], tier="specs") == (6.0, "specs")


@pytest.mark.usefixtures("files")
def test_a_changed_device_is_of_the_family_and_not_the_one_that_was_measured() -> None:
    assert start(devices["a100-sim[units=54]"]) == (3.0, "family")


@pytest.mark.usefixtures("files")
def test_a_users_own_calibration_comes_first(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('["gemm.tensor".devices."a100-sim"]\nvalues = { start_us = 90 }\n')
    own = own_constants(file)
    assert constants_for(devices["a100-sim"], "gemm.tensor", CONSTANTS, own=own).values == {"start_us": 20.0}  # clipped


def test_without_any_measurement_the_defaults_stand_and_the_error_is_called_unknown() -> None:
    found = constants_for(devices["v100-sim"], "no such operation", CONSTANTS)
    assert found.values == {"start_us": 2.0}
    assert "unknown" in found.band


def test_every_shipped_file_can_be_read() -> None:
    folder = Path(module.__file__).parent / "fitted"
    for file in folder.glob("*.toml"):
        for name, section in fitted_in(file.stem).items():
            assert section.values is not None or section.devices or section.without, f"{file}: {name} is empty"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[gemm", "not valid TOML"),
        ("[gemm]\nerror_pct = 3", "a table with 'values' is needed"),
        ("[gemm]\nvalues = { a = 'x' }", "must be a number"),
        ("[gemm]\nvalues = {}\ntiers = 'family'", "unknown field tiers"),
        ("[gemm]\nvalues = {}\ntier = 'best'", "must be calibrated, family or specs"),
    ],
)
def test_a_torn_file_is_refused_with_the_reason(text: str, says: str) -> None:
    with pytest.raises(DeviceError, match=says):
        parse_fitted(text, "mine.toml")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"cannot read .*none\.toml"):
        own_constants(tmp_path / "none.toml")


def test_a_default_lies_in_its_range() -> None:
    with pytest.raises(DeviceError, match="outside of"):
        Constant(9.0, 0.0, 1.0, "share", "…")


def test_family_and_band() -> None:
    assert family_of(devices["h100-sim"]) == "hopper"
    assert Fitted({}, "calibrated", 1.234, 10).band == "±1.2 % (calibrated: mean error of 10 held-out rows)"


def _add_sections(path: Path, names: list[str]) -> None:
    for name in names:
        change_sections(path, lambda old, name=name: {**old, name: Section(Fitted({"a": 1.0}, "family"))}, "A note.")


def test_writers_side_by_side_lose_no_section(tmp_path: Path) -> None:
    path, names = tmp_path / "family.toml", [[f"{who}.{each}" for each in range(20)] for who in "abc"]
    with ThreadPoolExecutor(3) as pool:  # a lock belongs to an opened folder, so threads compete as processes do
        list(pool.map(_add_sections, [path] * 3, names))
    found = parse_fitted(path.read_text(encoding="utf-8"), path.name)
    assert set(found) == {name for each in names for name in each}
    assert [file.name for file in tmp_path.iterdir()] == ["family.toml"], "scratch files are gone"
