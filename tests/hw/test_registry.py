"""Finding devices by name, alias, file and change."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest

from flashsched.errors import DeviceError
from flashsched.hw import devices


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("nvidia-a100", "a100-sim"),
        ("gpu-a100", "a100-sim"),
        ("A100", "a100-sim"),
        ("cpu-xeon", "cpu-xeon-sim"),
        ("tpu-v4", "tpu-v4-sim"),
        ("apple-m1", "apple-m1-sim"),
        ("a100-sim", "a100-sim"),
        ("cpu", "cpu"),
    ],
)
def test_the_owner_s_names_find_theirs(alias: str, name: str) -> None:
    assert devices[alias].name == name


def test_no_alias_belongs_to_two_devices() -> None:
    names = [name for spec in devices if spec != "cpu" for name in (spec, *devices[spec].aliases)]
    assert len(names) == len(set(names))


def test_iteration_gives_the_names_cpu_first() -> None:
    names = list(devices)
    assert names[0] == "cpu"
    assert {"a100-sim", "v100-sim", "h100-sim", "t4-sim", "tpu-v4-sim", "cpu-xeon-sim", "apple-m1-sim"} <= set(names)
    assert len(devices) == len(names)
    assert all(name in devices for name in names)
    assert "gpu-a100" in devices
    assert "z80" not in devices


def test_a_maker_takes_changes_by_the_vendor_s_names() -> None:
    assert devices.NVIDIA_A100() is devices["a100-sim"] or devices.NVIDIA_A100() == devices["a100-sim"]
    assert devices.NVIDIA_A100(sm_count=108) == devices["a100-sim"]
    assert devices.NVIDIA_A100(sm_count=54).units == 54
    assert devices.CPU_XEON(cores=6).units == 6
    assert "NVIDIA_A100" in dir(devices)


def test_a_name_may_carry_changes() -> None:
    assert devices["a100-sim[sm_count=54]"] == devices.NVIDIA_A100(units=54)
    assert devices["a100-sim[units=54, launch_s=1e-6]"].launch_s == 1e-6


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("a100-sin", "did you mean a100-sim"),
        ("nvidia-a10", "did you mean .*nvidia-a100"),
        ("z80", "known: .*Or give a TOML file"),
        ("a100-sim[units]", "'units' is no field=number"),
        ("a100-sim[units=54", "cannot read the changes"),
        ("a100-sim[unit=54]", "a device has no field 'unit'"),
        ("./nowhere.toml", "cannot read device file"),
        (3, "a device is looked up by name, got 3"),
    ],
)
def test_an_unknown_name_is_refused(name: str, says: str) -> None:
    with pytest.raises(DeviceError, match=says):
        devices[name]


def test_an_unknown_maker_is_refused() -> None:
    with pytest.raises(DeviceError, match="no device is called NVIDIA_A10") as caught:
        devices.NVIDIA_A10(sm_count=3)
    assert "NVIDIA_A100" in str(caught.value)
    assert not hasattr(devices, "NVIDIA_A10")
    assert not hasattr(devices, "__wrapped__")


def test_the_error_pickles() -> None:
    with pytest.raises(DeviceError) as caught:
        devices["z80"]
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value)


def test_the_registry_copies() -> None:
    assert copy.copy(devices)["a100-sim"].units == 108


def test_a_path_is_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.toml").write_text(devices["t4-sim"].to_toml().replace("t4-sim", "mine-sim"), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert devices["mine.toml"].name == devices["./mine.toml"].name == devices[str(tmp_path / "mine.toml")].name
    assert devices.for_simulation("mine.toml").units == 40


def test_only_devices_with_a_model_are_simulated() -> None:
    assert devices.for_simulation("gpu-a100").name == "a100-sim"
    with pytest.raises(DeviceError, match="kind 'tpu' has no model") as caught:
        devices.for_simulation("tpu-v4")
    assert "kinds with a model: cpu, gpu" in str(caught.value)
