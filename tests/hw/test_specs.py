"""Device specs: what is shipped, the TOML form, and every rule that refuses a spec."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path

import numpy as np
import pytest

from flashsched.errors import DeviceError
from flashsched.hw import DeviceSpec, devices, has_model
from flashsched.hw.check import DTYPES, KINDS
from flashsched.hw.spec_file import parse_spec

SHIPPED = [name for name in devices if name != "cpu"]
A100 = devices["a100-sim"].to_toml()


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_spec_reads_back_equal_and_pickles(name: str) -> None:
    spec = devices[name]
    assert parse_spec(spec.to_toml()) == spec
    assert pickle.loads(pickle.dumps(spec)) == spec
    assert hash(spec) == hash(parse_spec(spec.to_toml()))


@pytest.mark.parametrize("name", SHIPPED)
def test_every_figure_of_a_shipped_spec_has_a_source(name: str) -> None:
    spec = devices[name]
    figures = ["units", "clock_hz", "launch_s", *(f"peaks.{dtype}" for dtype in spec.peaks)]
    optional = ("power_w", "idle_power_w", "process_nm", "host_link_bytes_per_s", "interconnect_bytes_per_s")
    figures += [name for name in optional if getattr(spec, name) is not None]
    for level in spec.memory:
        figures += [f"memory.{level.name}.{name}" for name in ("size_bytes", "bandwidth_bytes_per_s", "latency_s")]
        figures += [f"memory.{level.name}.sustained"] if level.sustained < 1 else []
    figures += [table for table in KINDS.values() if getattr(spec, table) is not None]
    if spec.sustained_clock < 1:
        figures.append("sustained_clock")
    assert [figure for figure in figures if spec.source_of(figure).text == "no source is stated"] == []


@pytest.mark.parametrize("name", SHIPPED)
def test_a_source_names_a_field_that_exists(name: str) -> None:
    spec = devices[name]
    known = {field.name for field in dataclasses.fields(spec)} | {f"peaks.{dtype}" for dtype in spec.peaks}
    for table in KINDS.values():
        part = getattr(spec, table)
        known |= {f"{table}.{field.name}" for field in dataclasses.fields(part)} if part else set()
    for level in spec.memory:
        known |= {f"memory.{level.name}"} | {f"memory.{level.name}.{f.name}" for f in dataclasses.fields(level)}
    assert set(spec.sources) <= known


@pytest.mark.parametrize("name", SHIPPED)
def test_what_is_recalled_is_not_verified(name: str) -> None:
    said = [str(source) for source in devices[name].sources.values() if source.status == "verified"]
    told = [text for text in said if text.endswith("recalled") or "measured" in text.split(":")[0]]
    assert told == []


def test_a100_is_the_a100() -> None:
    spec = devices["a100-sim"]
    assert spec.units == 108
    assert spec.peak("float32") == 19.5e12
    assert spec.peak("tf32") == 156e12
    assert spec.dram.bandwidth_bytes_per_s == 2039e9
    assert spec.level("shared").size_bytes == 164 * 1024
    assert spec.source_of("peaks.float32").status == "verified"
    assert spec.source_of("peaks.int32").status == "derived"


@pytest.mark.parametrize(
    ("name", "figure", "value"),
    [
        ("a100-pcie-40gb", "dram", 1555e9),
        ("a100-pcie-80gb", "dram", 1935e9),
        ("a100-sxm4-80gb", "dram", 2039e9),
        ("mi250", "dram", 1638e9),
        ("tpu-v4", "bfloat16", 275e12),
        ("l40s", "float16", 362.05e12),
        ("h100-sxm-80gb", "float8_e4m3", 1978.9e12),
        ("rtx-4090", "float16", 165.2e12),
        ("mi250x", "float16", 191.5e12),
    ],
)
def test_what_common_tables_get_wrong(name: str, figure: str, value: float) -> None:
    spec = devices[name]
    assert (spec.dram.bandwidth_bytes_per_s if figure == "dram" else spec.peak(figure)) == value


def test_volta_is_volta() -> None:
    assert devices["v100-pcie-32gb"].architecture == "Volta"
    assert "bfloat16" not in devices["v100"].peaks


def test_sums_are_told() -> None:
    assert devices["a100"].accumulates("float16") == "float32"
    assert devices["a100"].accumulates("int8") == "int32"
    assert devices["p100"].accumulates("float16") == "float16"
    assert "sums in float16" in devices["p100"].describe()


def test_the_longest_source_counts() -> None:
    spec = parse_spec(A100)
    assert spec.source_of("memory.l2.sustained").status == "measured"
    assert spec.source_of("memory.l2.size_bytes") == spec.sources["memory.l2"]
    assert spec.source_of("title.nothing") == spec.sources["title"]


def test_a_user_s_own_file(tmp_path: Path) -> None:
    path = tmp_path / "chip.toml"
    path.write_text(
        """
name = "chip-sim"
kind = "cpu"
units = 4
clock_hz = 2e9
launch_s = 1e-6
[peaks]
float32 = 1.28e11
[cpu]
vector_bits = 128
vector_registers = 32
fma_ports = 2
fma_latency_cycles = 4
issue_width = 4
[[memory]]
name = "l1"
size_bytes = 32e3
bandwidth_bytes_per_s = 64e9
latency_s = 2e-9
shared_by = "unit"
[[memory]]
name = "dram"
size_bytes = 8e9
bandwidth_bytes_per_s = 20e9
latency_s = 90e-9
shared_by = "device"
""",
        encoding="utf-8",
    )
    spec = DeviceSpec.from_toml(path)
    assert (spec.name, spec.units, spec.level("l1").size_bytes) == ("chip-sim", 4, 32000)
    assert spec == devices[str(path)] == devices.load(path)
    assert has_model(spec)
    assert spec.source_of("units").status == "unverified"
    assert "chip-sim" in spec.describe()


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("units = 108", "units = 0", "units is 0; it must be a positive number"),
        ("units = 108", "units = 1.5", "units must be a whole number, got 1.5"),
        ("units = 108", "unit = 108", "unknown field unit"),
        ("units = 108", "", "missing units"),
        ('kind = "gpu"', 'kind = "gpus"', "did you mean gpu"),
        ('kind = "gpu"', 'kind = "cpu"', r"the table \[gpu\] does not belong to kind 'cpu'[^$]*described by \[cpu\]"),
        ('kind = "gpu"', "kind = 3", "kind is 3"),
        ('name = "a100-sim"', 'name = "a100"', "must be ending in '-sim', e.g. 'a100-sim'"),
        ('name = "a100-sim"', 'name = "My Chip"', "lower-case letters"),
        ("clock_hz = 1410000000.0", "clock_hz = 1.41", "in hertz"),
        ("clock_hz = 1410000000.0", "clock_hz = nan", "clock_hz is nan; it must be a positive number"),
        ("launch_s = 1.3e-06", "launch_s = 3", "seconds, between 0 and 1"),
        ("launch_s = 1.3e-06", "launch_s = 1.3e-06\nsustained_clock = 1.5", "a share above 0, at most 1"),
        ("power_w = 400.0", "power_w = -1", "power_w is -1; it must be a positive number"),
        ("power_w = 400.0", "power_w = 400\nidle_power_w = 500", "at most power_w, 400"),
        ("float32 = 19500000000000.0", "float32 = 19.5", r"in FLOP/s \(19.5 TFLOP/s are 19.5e12\)"),
        ("float32 = 19500000000000.0", "float32 = 195e12", "what the schedulers issue on the plain cores"),
        ("float32 = 19500000000000.0", "fp32 = 19.5e12", "peaks.fp32 names no known arithmetic"),
        ("float32 = 19500000000000.0", 'float32 = "fast"', "peaks.float32 must be a number, got 'fast'"),
        ("warp_size = 32", 'warp_size = "32"', "gpu.warp_size must be a whole number, got '32'"),
        ("warp_size = 32", "warpsize = 32", "unknown field gpu.warpsize"),
        ("warp_size = 32", "warp_size = 0", "gpu.warp_size is 0; it must be a positive number"),
        ("max_threads_per_block = 1024", "max_threads_per_block = 4096", "at most max_threads, 2048"),
        ("max_threads = 2048", "max_threads = 2047", "a multiple of warp_size, 32"),
        ("max_registers_per_thread = 255", "max_registers_per_thread = 4096", "at most registers / warp_size: 2048"),
        ("registers = 65536", "registers = 32768", "4 bytes for each of gpu.registers: 131072"),
        ("shared_bytes_per_block = 166912", "shared_bytes_per_block = 200000", "less what is reserved: 166912"),
        ("shared_reserved_bytes = 1024", "shared_reserved_bytes = -1", "0 or more"),
        ("size_bytes = 41943040", "size_bytes = 65536", "at least that of 'shared', which is nearer: 167936 bytes"),
        ("bandwidth_bytes_per_s = 180480000000.0", "bandwidth_bytes_per_s = 2e12", "at most that of 'registers'"),
        ("bandwidth_bytes_per_s = 7219200000000.0", "bandwidth_bytes_per_s = 1e12", "at most that of 'l2'"),
        ("per_unit_bytes_per_s = 90240000000.0", "per_unit_bytes_per_s = 2e12", "at most that of 'shared'"),
        ("latency_s = 1.5e-07", "latency_s = 1e-9", "at least that of 'shared'"),
        ("latency_s = 1.5e-07", "latency_s = 150", "25 ns are 25e-9"),
        ("sustained = 0.85", "sustained = 85", "a share above 0, at most 1"),
        ('name = "l2"', 'name = "cache"', r"has no memory level 'l2'[^$]*levels registers and shared of a unit"),
        ('name = "l2"', 'name = "shared"', "memory level 'shared' is stated 2 times"),
        ('shared_by = "device"', 'shared_by = "chip"', "it must be 'device' or 'unit'"),
        ("int8 = 624000000000000.0", "int8 = 1248e12", "vendors quote twice the dense rate for sparse operands"),
        ("float16 = 312000000000000.0", "float16 = 400e12", "at most what the matrix units do .* 3.119e.14"),
        ("matrix_shape = [16, 8, 16]", "matrix_shape = [16, 8]", "three sizes m, n, k"),
        ("matrix_shape = [16, 8, 16]", 'matrix_shape = "16x8x16"', "must be a list of whole numbers"),
        ("[gpu]", '[accumulate]\nfloat16 = "half"\n[gpu]', "accumulate.float16 is 'half'"),
        ("[gpu]", '[accumulate]\nint16 = "int32"\n[gpu]', "accumulate.int16 .* for one of the peaks"),
        ("[gpu]", "[accumulate]\nfloat16 = 32\n[gpu]", "accumulate.float16 must be text in quotes, got 32"),
        ("interconnect_bytes_per_s = 300000000000.0", "interconnect_bytes_per_s = 0", "a positive number"),
        ('"units" = "verified', '"units" = "sure', "must begin with how far the figure is trusted"),
        ("[peaks]", "[peaks", r"not valid TOML.*\n  \| \[peaks\n"),
        (
            '"units" = "verified',
            '"unit" = "verified',
            r"sources.unit belongs to no figure of it[^$]*did you mean units\?",
        ),
        ("float32 = 19500000000000.0", "fp32 = 19.5e12", r"hint: did you mean float32\?"),
        ('name = "shared"\n', "", r"a \[\[memory\]\] has no name"),
        ('name = "shared"', "name = 3", r"has the name 3, which is no text in quotes"),
        ("units = 108", "units = 10000000", "at most 1,000,000: multiprocessors"),
        ("process_nm = 7.0", "process_nm = 7e-9", r"in nanometres, from 0.5 to 1000 \(7 nm are 7\)"),
        ("bandwidth_bytes_per_s = 2039000000000.0", "bandwidth_bytes_per_s = 2039", r"2039 GB/s are 2039e9"),
        ("interconnect_bytes_per_s = 300000000000.0", "interconnect_bytes_per_s = 300", "in bytes per second"),
        ("interconnect_bytes_per_s = 300000000000.0", "interconnect_bytes_per_s = 1e20", "in bytes per second"),
    ],
)
def test_a_wrong_spec_is_refused(old: str, new: str, says: str) -> None:
    assert old in A100
    with pytest.raises(DeviceError, match=says):
        parse_spec(A100.replace(old, new, 1))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"memory": ()}, r"\[\[memory\]\] has 0 levels"),
        ({"peaks": {}}, r"\[peaks\] is empty"),
        ({"kind": "cpu"}, r"\[cpu\] is missing"),
    ],
)
def test_a_wrong_spec_cannot_be_made_in_code_either(changes: dict[str, object], says: str) -> None:
    with pytest.raises(DeviceError, match=says):
        dataclasses.replace(devices["a100-sim"], **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"power_w": "250 W"}, "power_w is '250 W'; it must be a number"),
        ({"power_w": True}, "power_w is True; it must be a number"),
        ({"title": 3}, "title is 3; it must be a text"),
        ({"name": 3}, "name is 3; it must be a text"),
        ({"aliases": "mine"}, "aliases is 'mine'; it must be a tuple of texts"),
        ({"peaks": {"float16": "fast"}}, "peaks.float16 is 'fast'; it must be a positive number"),
        ({"peaks": {16: 1e12}}, "peaks.16 names no known arithmetic"),
        ({"gpu": {"warp_size": 32.0}}, "gpu.warp_size is 32; it must be a whole number"),
        ({"gpu": {"matrix_shape": [16, 8, 16]}}, "matrix_shape is .* a tuple of whole numbers"),
        ({"gpu": 3}, "gpu is 3; it must be a table of figures"),
        ({"memory": {"dram": {"latency_s": "0.4 us"}}}, "memory.dram.latency_s is '0.4 us'; it must be a number"),
        ({"memory": {"dram": 3}}, r"\[memory.dram\] must be a dict of the figures to change, got 3"),
        ({"memory": (3, 4)}, "memory.3 is 3; it must be a table of figures"),
    ],
)
def test_a_figure_of_a_wrong_type_is_refused_at_the_user_s_line(changes: dict[str, object], says: str) -> None:
    with pytest.raises(DeviceError, match=says) as caught:
        devices["a100-sim"].replace(**changes)
    assert "test_specs.py" in (caught.value.where or "")


def test_changes_may_be_numpy_s() -> None:
    sweep = [devices["a100-sim"].replace(units=units) for units in np.arange(54, 110, 54)]
    assert [spec.name for spec in sweep] == ["a100-sim[units=54]", "a100-sim"]
    assert devices["a100-sim"].replace(clock_hz=np.float64(705e6)) == devices["a100-sim[clock_hz=705e6]"]
    assert devices["a100-sim[units=1e2]"].units == 100
    assert devices["a100-sim"].peak(np.dtype("float32")) == 19.5e12  # type: ignore[arg-type]


def test_a_table_of_another_kind_is_refused() -> None:
    with pytest.raises(DeviceError, match=r"table \[cpu\] does not belong to kind 'gpu'"):
        dataclasses.replace(devices["a100-sim"], cpu=devices["cpu-xeon"].cpu)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"cpu": {"vector_bits": 384}}, "a power of two"),
        ({"peaks": {"float32": 9e12}}, "at most what the FMA ports do"),
        ({"memory": {"dram": {"shared_by": "unit"}}}, "the last level is main memory"),
        ({"gpu": {"max_blocks": 3}}, r"has no table \[gpu\]"),
        ({"cpu": {"matrix_macs_per_clock": 512}}, "cpu.matrix_operand_bits .* stated together"),
        ({"cpu": {"numa_nodes": 5}}, "a divisor of the cores, 12"),
        ({"cpu": {"matrix_macs_per_clock": 16, "matrix_operand_bits": 16}, "peaks": {"bfloat16": 9e12}}, "sparse"),
    ],
)
def test_a_wrong_cpu_is_refused(changes: dict[str, object], says: str) -> None:
    with pytest.raises(DeviceError, match=says):
        devices["cpu-xeon"].replace(**changes)


@pytest.mark.parametrize(
    ("name", "changes", "says"),
    [
        (
            "tpu-v4",
            {"peaks": {"int8": 1100e12}},
            "at most what the matrix units do .* systolic.rows x columns",
        ),
        ("tpu-v4", {"systolic": {"rows": 0}}, "systolic.rows is 0"),
        ("edge-tpu", {"peaks": {"int8": 17e12}}, "at most what the matrix units do"),
        ("edge-tpu", {"asic": {"weight_bytes": 9 * 2**20}}, "asic.weight_bytes .* at most the on-chip memory: 8388608"),
    ],
)
def test_a_wrong_array_is_refused(name: str, changes: dict[str, object], says: str) -> None:
    with pytest.raises(DeviceError, match=says):
        devices[name].replace(**changes)


@pytest.mark.parametrize("content", [b"\xff\xfe", None])
def test_an_unreadable_file_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "x.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DeviceError, match="cannot read device file"):
        DeviceSpec.from_toml(path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('kind = "gpu"\nmemory = 3', "memory must be a list of tables"),
        ('kind = "gpu"\nsources = 3', "sources must be a table"),
        ('kind = "gpu"\ngpu = 3', "gpu must be a table"),
        ('kind = "gpu"\naliases = 3', "missing name"),
    ],
)
def test_a_malformed_table_is_refused(text: str, says: str) -> None:
    with pytest.raises(DeviceError, match=says):
        parse_spec(text)


def test_a_mark_before_the_text_is_no_matter(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_text(A100, encoding="utf-8-sig")
    assert DeviceSpec.from_toml(path) == devices["a100-sim"]


def test_fewer_units_scale_the_peaks() -> None:
    half = devices["a100-sim"].replace(units=54)
    assert half.name == "a100-sim[units=54]"
    assert half.peak("float32") == pytest.approx(19.5e12 / 2)
    assert half.dram == devices["a100-sim"].dram
    assert half.source_of("peaks.float32").status == "derived"
    assert half.fingerprint != devices["a100-sim"].fingerprint


def test_a_slower_clock_slows_the_chip_and_not_its_dram() -> None:
    slow = devices["a100-sim"].replace(clock_hz=0.705e9)
    assert slow.peak("float16") == pytest.approx(156e12)
    assert slow.level("l2").bandwidth_bytes_per_s == pytest.approx(7.2192e12 / 2)
    assert slow.dram == devices["a100-sim"].dram


def test_a_change_that_changes_nothing_keeps_name_and_fingerprint() -> None:
    assert devices["a100-sim"].replace(units=108) == devices["a100-sim"]


def test_changes_add_up_in_the_name() -> None:
    spec = devices["a100-sim"].replace(units=54).replace(launch_s=2e-6).replace(units=50)
    assert spec.name == "a100-sim[launch_s=2e-06,units=50]"
    assert devices[spec.name].units == 50


def test_a_changed_table_is_told_by_a_digest() -> None:
    spec = devices["a100-sim"].replace(memory={"dram": {"bandwidth_bytes_per_s": 1.5e12}}, peaks={"float32": 10e12})
    assert spec.dram.bandwidth_bytes_per_s == 1.5e12
    assert spec.peak("float32") == 10e12
    assert spec.peak("tf32") == 156e12
    assert spec.name.startswith("a100-sim[memory-")
    assert spec.source_of("peaks.float32").status == "estimated"
    with pytest.raises(DeviceError, match="is no field=number"):
        devices[spec.name]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"unit": 3}, "a device has no field 'unit'"),
        ({"units": 0}, "units must be a whole number, at least 1, got 0"),
        ({"units": 1.5}, "units must be a whole number"),
        ({"clock_hz": "fast"}, "clock_hz must be a positive number, got 'fast'"),
        ({"peaks": 3}, "peaks must be a dict of the figures to change, got 3"),
        ({"memory": {"l3": {}}}, "has no memory level 'l3'"),
        ({"gpu": {"warp": 3}}, r"\[gpu\] has no field 'warp'"),
        ({"gpu": {"max_blocks": 0}}, "gpu.max_blocks is 0"),
    ],
)
def test_a_wrong_change_is_refused(changes: dict[str, object], says: str) -> None:
    with pytest.raises(DeviceError, match=says):
        devices["a100-sim"].replace(**changes)


def test_an_unknown_peak_names_those_there_are() -> None:
    with pytest.raises(DeviceError, match="no peak for tf32") as caught:
        devices["v100-sim"].peak("tf32")
    assert "float16, float32, float64" in str(caught.value)


def test_dtypes_cover_what_people_may_ask_for() -> None:
    assert {"float32", "tf32", "bfloat16", "float16", "float8_e4m3", "int8"} <= set(DTYPES)


@pytest.mark.parametrize("name", [*SHIPPED, "cpu"])
def test_a_description_tells_every_peak_and_level(name: str) -> None:
    spec = devices[name]
    text = spec.describe()
    for word in [spec.name, *spec.peaks, *(level.name for level in spec.memory)]:
        assert word in text
