"""Finding devices by name, alias, file and change."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest

from flashsched.errors import DeviceError
from flashsched.hw import MODELS, devices


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("nvidia-a100", "a100-sim"),
        ("gpu-a100", "a100-sim"),
        ("A100", "a100-sim"),
        ("cpu-xeon", "cpu-xeon-sim"),
        ("tpu-v4", "tpu-v4-sim"),
        ("apple-m1", "apple-m1-sim"),
        ("a100-sxm4-80gb", "a100-sim"),
        ("A100-PCIE-40GB", "a100-pcie-40gb-sim"),
        ("h100-sxm-80gb", "h100-sim"),
        ("v100-pcie-32gb", "v100-pcie-32gb-sim"),
        ("v100-sxm2-dgx1", "v100-sim"),
        ("p100-pcie-16gb", "p100-pcie-16gb-sim"),
        ("titanx-maxwell", "titanx-maxwell-sim"),
        ("rtx-pro-6000-blackwell-se", "rtx-pro-6000-blackwell-se-sim"),
        ("xeonphi-7250-knl", "xeon-phi-7250-sim"),
        ("raspberrypi3-cortexa53", "cortex-a53-sim"),
        ("mi250-1gcd", "mi250-sim"),
        ("tpuv6e", "tpu-v6e-sim"),
        ("coral", "edge-tpu-sim"),
        ("a100-sim", "a100-sim"),
        ("cpu", "cpu"),
    ],
)
def test_the_owner_s_names_find_theirs(alias: str, name: str) -> None:
    assert devices[alias].name == name


def test_no_alias_belongs_to_two_devices() -> None:
    shipped = [name for name in devices if name != "cpu"]
    names = [n for name in shipped for n in (name, name.removesuffix("-sim"), *set(devices[name].aliases))]
    twice = [name for name in names if names.count(name) > 1]
    assert [name for name in twice if f"{name}-sim" not in shipped] == []


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
        ("nvidia-a10x", "did you mean nvidia-a10"),
        ("z80", "known: .*the path of a TOML file is one"),
        ("a100-sim[units]", "'units' is no field=number"),
        ("a100-sim[units=54", r"cannot read the changes .*: it does not end in \]"),
        ("a100-sim[unit=54]", "a device has no field 'unit'"),
        ("./nowhere.toml", "cannot read device file"),
        (3, "a device is looked up by its name, .* got a int"),
    ],
)
def test_an_unknown_name_is_refused(name: str, says: str) -> None:
    with pytest.raises(DeviceError, match=says):
        devices[name]


def test_an_unknown_maker_is_refused() -> None:
    with pytest.raises(DeviceError, match="no device is called NVIDIA_A11") as caught:
        devices.NVIDIA_A11(sm_count=3)
    assert "NVIDIA_A100" in str(caught.value)
    assert not hasattr(devices, "NVIDIA_A11")
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


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('base = "a100"\nname = "t4-sim"', r"'t4-sim' is the name of a device that ships, NVIDIA T4[^$]*t4-mine-sim"),
        ('base = "a100"\nname = "a100-sim"\npower_w = 250', "'a100-sim' is the name of a device that ships"),
        ('base = "a100"\nname = "cpu"', "'cpu' is the name of what runs here"),
    ],
)
def test_a_file_with_other_figures_is_no_shipped_device(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "mine.toml").write_text(text, encoding="utf-8")
    with pytest.raises(DeviceError, match=says):
        devices[str(tmp_path / "mine.toml")]


def test_a_copy_of_a_shipped_device_may_keep_its_name(tmp_path: Path) -> None:
    (tmp_path / "copy.toml").write_text(devices["a100-sim"].to_toml(), encoding="utf-8")
    assert devices[str(tmp_path / "copy.toml")] == devices["a100-sim"]


def test_what_is_no_path_and_no_change_is_refused() -> None:
    with pytest.raises(DeviceError, match="a text or a Path, got a NoneType"):
        devices.load(None)  # type: ignore[arg-type]
    with pytest.raises(DeviceError, match="what changes is given by name, got 54 alone"):
        devices.NVIDIA_A100(54)


def test_a_folder_of_the_user_s_devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLASHSCHED_DEVICES", str(tmp_path))
    path = tmp_path / "mine.toml"
    path.write_text('base = "t4"\nname = "mine-sim"\naliases = ["my-board"]\nlaunch_s = 3e-6', encoding="utf-8")
    assert devices["mine-sim"].launch_s == devices["my-board"].launch_s == devices["mine"].launch_s == 3e-6
    assert "mine-sim" in list(devices)
    assert devices["my-board[units=20]"].units == 20
    assert devices.MY_BOARD(sm_count=20).units == 20
    path.write_text('base = "t4"\nname = "t4-sim"', encoding="utf-8")
    with pytest.raises(DeviceError, match="a device called 't4-sim' is known already"):
        devices["mine-sim"]
    path.write_text("units = 3", encoding="utf-8")
    with pytest.raises(DeviceError, match=r"mine.toml does not say what the device is"):
        list(devices)
    assert devices["a100-sim"].units == 108  # a broken file of the user's is in no one else's way


def test_a_calibration_may_lie_beside_its_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLASHSCHED_DEVICES", str(tmp_path))
    (tmp_path / "mine.toml").write_text(
        'base = "t4"\nname = "mine-sim"\ncalibration = "a-constants.toml"', encoding="utf-8"
    )
    (tmp_path / "a-constants.toml").write_text('["softmax".devices."mine-sim"]\nvalues = {}', encoding="utf-8")
    assert devices["mine"].name == "mine-sim"
    assert list(devices)[-1] == "mine-sim"
    (tmp_path / "b-constants.toml").write_text('["softmax".devices."mine-sim"]\nvalues = {}', encoding="utf-8")
    with pytest.raises(DeviceError, match=r"b-constants\.toml does not say what the device is"):
        list(devices)


def test_only_devices_with_a_model_are_simulated(monkeypatch: pytest.MonkeyPatch) -> None:
    assert devices.for_simulation("gpu-a100").name == "a100-sim"
    assert devices.for_simulation("tpu-v4").name == "tpu-v4-sim"
    monkeypatch.delitem(MODELS, "tpu")
    with pytest.raises(DeviceError, match="kind 'tpu' has no model") as caught:
        devices.for_simulation("tpu-v4")
    assert "kinds with a model: asic, cpu, gpu" in str(caught.value)
