"""Device files that are based on another device, and rates stated per clock."""

from __future__ import annotations

from pathlib import Path

import pytest

from flashsched.errors import DeviceError
from flashsched.hw import DeviceSpec, devices
from flashsched.hw.spec_base import shipped_stems, shipped_text
from flashsched.hw.spec_file import parse_spec

LESS = """
base = "a100"
name = "less-sim"
units = 106
[peaks]
float32 = 9.7e12
int8 = false
[[memory]]
name = "l2"
size_bytes = 20971520
[[memory]]
name = "dram"
bandwidth_bytes_per_s = 1e12
[sources]
units = "estimated: less of it"
"memory.dram" = "estimated: less of it"
"""


def test_what_is_not_stated_is_the_base_s() -> None:
    less, whole = parse_spec(LESS), devices["a100"]
    assert (less.units, less.clock_hz, less.gpu) == (106, whole.clock_hz, whole.gpu)
    assert (less.title, less.aliases, less.vendor) == ("", (), "NVIDIA")
    assert less.peak("float32") == 9.7e12
    assert less.peak("tf32") == whole.peak("tf32")
    assert "int8" not in less.peaks
    assert [level.name for level in less.memory] == [level.name for level in whole.memory]
    assert less.level("l2").bandwidth_bytes_per_s == whole.level("l2").bandwidth_bytes_per_s
    assert less.dram.size_bytes == whole.dram.size_bytes


def test_a_source_goes_with_its_figure_and_tells_its_device() -> None:
    less = parse_spec(LESS)
    assert str(less.source_of("gpu")).endswith("[a100-sim]")
    assert less.source_of("memory.dram.bandwidth_bytes_per_s").text == "less of it"
    assert less.source_of("memory.l2.size_bytes").text == "no source is stated"
    assert less.source_of("peaks.float32").text == "no source is stated"
    assert less.source_of("peaks.int8").text.endswith("[a100-sim]")  # of all peaks


def test_what_was_measured_on_the_base_is_an_estimate() -> None:
    assert devices["a100"].source_of("launch_s").status == "measured"
    assert parse_spec(LESS).source_of("launch_s").status == "estimated"


def test_what_was_verified_for_another_architecture_is_an_estimate() -> None:
    other = parse_spec('architecture = "Ampere Next"\n' + LESS)
    assert other.source_of("gpu.warp_size").text.startswith("verified, ")
    assert other.source_of("gpu.warp_size").status == "estimated"
    assert parse_spec(LESS).source_of("gpu.warp_size").status == "verified"


def test_rates_per_clock_follow_the_clock() -> None:
    slow = parse_spec('base = "a100"\nname = "slow-sim"\nclock_hz = 0.705e9\n[peaks]\nfloat32 = 9e12\ntf32 = 78e12\n'
                      "float64 = 4e12\nfloat16 = 156e12\nbfloat16 = 156e12\nint8 = 312e12\nint32 = 9e12")  # fmt: skip
    assert slow.level("shared").bandwidth_bytes_per_s == 128 * 0.705e9
    assert slow.level("shared").latency_s == pytest.approx(29 / 0.705e9)
    assert slow.dram.bandwidth_bytes_per_s == devices["a100"].dram.bandwidth_bytes_per_s


def test_a_level_may_be_added_or_taken_away() -> None:
    text = LESS.replace(
        '[[memory]]\nname = "dram"',
        """[[memory]]
name = "l3"
size_bytes = 1e9
bandwidth_bytes_per_s = 3e12
latency_s = 300e-9
shared_by = "device"
[[memory]]
name = "dram"
""",
    )
    assert [level.name for level in parse_spec(text).memory] == ["registers", "shared", "l2", "l3", "dram"]
    assert [level.name for level in devices["tpu-v5e"].memory] == ["vmem", "dram"]
    assert "memory.cmem" not in devices["tpu-v5e"].sources


def test_a_user_s_file_may_be_based_on_another_beside_it(tmp_path: Path) -> None:
    (tmp_path / "less.toml").write_text(LESS, encoding="utf-8")
    (tmp_path / "least.toml").write_text('base = "./less.toml"\nname = "least-sim"\nunits = 104', encoding="utf-8")
    spec = DeviceSpec.from_toml(tmp_path / "least.toml")
    assert (spec.units, spec.dram.bandwidth_bytes_per_s) == (104, 1e12)
    assert parse_spec(spec.to_toml()) == spec


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('base = "a1000"', "base = 'a1000' is no shipped device"),
        ("base = 3", "base is 3; it names a device or a file"),
        ('base = "./nowhere.toml"', "cannot read its base"),
        ('base = "a100"', "missing name"),
        ('base = "a100"\nname = "x-sim"\nunit = 3', "unknown field unit"),
        (
            'base = "a100"\nname = "x-sim"\n[[memory]]\nname = "l2"\nbytes_per_clock = 1\nbandwidth_bytes_per_s = 1e9',
            "memory.l2 states both bytes_per_clock and bandwidth_bytes_per_s; keep one",
        ),
        ('base = "a100"\nname = "x-sim"\n[[memory]]\nname = "l2"\nbytes_per_clock = "many"', "must be a number"),
        ('base = "a100"\nname = "x-sim"\nmemory = 3', "memory must be a list of tables"),
        ('base = "a100"\nname = "x-sim"\n[sources]\nunits = 3', "must begin with how far the figure is trusted"),
        (
            'base = "a100"\nname = "x-sim"\n' + '[[memory]]\nname = "dram"\nbandwidth_bytes_per_s = 1e12\n' * 2,
            "memory level 'dram' is stated 2 times; keep one",
        ),
        (
            'base = "a100"\nname = "x-sim"\nunits = 216\n[peaks]\nfloat32 = 39e12',
            r"units is 216, not 108, and peaks.float64, peaks.tf32[^$]*would stay that of the base[^$]*\[units=216\]",
        ),
        (
            'base = "a100"\nname = "x-sim"\nclock_hz = 0.7e9',
            "clock_hz is 700000000.0, not 1410000000.0, and peaks.float64",
        ),
    ],
)
def test_a_wrong_base_is_refused(text: str, says: str) -> None:
    with pytest.raises(DeviceError, match=says):
        parse_spec(text)


def test_devices_based_on_each_other_are_refused(tmp_path: Path) -> None:
    for one, other in ("ab", "ba"):
        (tmp_path / f"{one}.toml").write_text(f'base = "./{other}.toml"\nname = "{one}-sim"', encoding="utf-8")
    with pytest.raises(DeviceError, match="leads back to itself"):
        DeviceSpec.from_toml(tmp_path / "a.toml")


def test_a_file_is_called_as_its_device() -> None:
    for stem in shipped_stems():
        assert f'name = "{stem}-sim"' in (shipped_text(stem) or "")
    assert len(shipped_stems()) >= 40
    assert shipped_text("z80") is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('base = "a101"', r"base = 'a101' is no shipped device[^$]*did you mean a10 or a100\?"),
        ('base = "a100"\nsources = "none"', r"sources must be a table, begun by \[sources\]"),
        ('base = "a100"\nname = "my-sim"\n[cpu]\nvector_bits = 512', r"\[cpu\] does not belong to kind 'gpu'"),
        (
            'base = "a100"\nname = "my-sim"\n[[memory]]\nname = "hbm"',
            r"missing memory.hbm.size_bytes[^$]*shared, l2, dram",
        ),
        ("", 'does not say what the device is[^$]*base = "a100"'),
    ],
)
def test_what_a_first_file_gets_wrong_is_told_with_the_next_move(text: str, says: str) -> None:
    with pytest.raises(DeviceError, match=says):
        parse_spec(text)
