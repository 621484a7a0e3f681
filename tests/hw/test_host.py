"""This machine as a device: the probe, the estimates, and measured figures kept in a file."""

from __future__ import annotations

import builtins
import os
import platform
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashsched.errors import DeviceError
from flashsched.hw import (
    Host,
    Measured,
    devices,
    host_fingerprint,
    host_probe,
    host_spec,
    load_measured,
    predict,
    probe_host,
    save_measured,
)
from flashsched.hw.work import Work


def host(**changes: object) -> Host:
    facts: dict[str, object] = {
        "model": "Test CPU", "vendor": "Test", "cores": 4,
        "caches": {"l1": (32768, False), "l2": (1 << 20, False), "l3": (32 << 20, True)},
        "isa": "avx512", "vector_bits": 512, "clock_hz": 2e9, "memory_bytes": 16 << 30,
        "cores_source": "test", "caches_source": "test", "clock_source": "test", "memory_source": "test",
    }  # fmt: skip
    return Host(**(facts | changes))  # type: ignore[arg-type]


def measured(of: Host, **changes: object) -> Measured:
    figures: dict[str, object] = {
        "fingerprint": host_fingerprint(of), "cores": of.cores,
        "fma_flops": {"float32": 200e9, "float64": 100e9}, "fma_flops_all": {"float32": 700e9},
        "bandwidth": {"l1": 400e9, "l2": 150e9, "dram": 12e9}, "bandwidth_all": {"dram": 40e9},
    }  # fmt: skip
    return Measured(**(figures | changes))  # type: ignore[arg-type]


def test_the_probe_answers_every_question() -> None:
    found = probe_host()
    assert found.model
    assert 1 <= found.cores <= (os.cpu_count() or 1)
    assert "l1" in found.caches
    assert found.vector_bits in (64, 128, 256, 512)
    assert 1e8 <= found.clock_hz <= 1e10
    assert found.memory_bytes > 1e8


def test_this_machine_is_a_device() -> None:
    spec = devices["cpu"]
    assert (spec.name, spec.kind, spec.units) == ("cpu", "cpu", probe_host().cores)
    assert predict(spec, Work(flops={"float32": 1e9}, dram_read_bytes=1e6, dram_write_bytes=1e6)).time_s > 0


def test_without_measurements_the_spec_says_so() -> None:
    spec = host_spec(None, host())
    assert not spec.measured
    assert spec.peak("float32") == 4 * 2e9 * 16 * 2 * 2
    assert spec.peak("float64") == spec.peak("float32") / 2
    assert spec.source_of("peaks.float32").status == "estimated"
    assert "not measured yet" in spec.describe()


def test_measured_figures_replace_the_estimates() -> None:
    spec = host_spec(measured(host()), host())
    assert spec.measured
    assert "not measured yet" not in spec.describe()
    assert spec.peak("float32") == 700e9  # of all cores, not four times one
    assert spec.peak("float64") == 400e9
    assert spec.clock_hz == pytest.approx(200e9 / 64)  # above what the system admits to
    assert spec.level("l1").bandwidth_bytes_per_s == 400e9
    assert spec.dram.bandwidth_bytes_per_s == 40e9
    assert spec.dram.per_unit_bytes_per_s == 12e9
    assert spec.source_of("peaks.float32").status == "measured"
    assert spec.source_of("memory.l3").status == "estimated"


@settings(deadline=None)  # a shared machine may stall
@given(
    cores=st.integers(1, 128),
    clock=st.floats(1e8, 6e9),
    bits=st.sampled_from([64, 128, 256, 512]),
    rates=st.dictionaries(st.sampled_from(["l1", "l2", "l3", "dram"]), st.floats(1e8, 1e13)),
    rates_all=st.dictionaries(st.sampled_from(["l1", "l2", "l3", "dram"]), st.floats(1e8, 1e13)),
    peak=st.floats(1e9, 1e12),
    caches=st.dictionaries(st.sampled_from(["l1", "l2", "l3"]), st.tuples(st.integers(1024, 1 << 30), st.booleans())),
)
def test_any_machine_makes_a_consistent_spec(
    cores: int, clock: float, bits: int, rates: dict[str, float], rates_all: dict[str, float], peak: float,
    caches: dict[str, tuple[int, bool]],
) -> None:  # fmt: skip
    of = host(
        cores=cores, clock_hz=clock, vector_bits=bits, caches={"l1": (32768, False)} | dict(sorted(caches.items()))
    )
    assert host_spec(None, of).units == cores
    said = measured(of, fma_flops={"float32": peak}, fma_flops_all={}, bandwidth=rates, bandwidth_all=rates_all)
    assert host_spec(said, of).measured


def test_figures_of_fewer_threads_are_not_taken_for_the_whole() -> None:
    spec = host_spec(measured(host(), cores=1), host())
    assert spec.peak("float32") == 800e9
    assert spec.dram.bandwidth_bytes_per_s == 48e9


def test_measurements_are_kept_for_this_machine_only(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "measured.json"
    of = host()
    assert load_measured(path, of) is None
    assert save_measured(measured(of), path) == path
    assert load_measured(path, of) == measured(of)
    assert load_measured(path, host(cores=2)) is None
    path.write_text(path.read_text(encoding="utf-8")[:40], encoding="utf-8")
    assert load_measured(path, of) is None
    assert list(path.parent.iterdir()) == [path]


def test_the_fingerprint_follows_what_the_figures_depend_on() -> None:
    assert host_fingerprint(host()) == host_fingerprint(host(memory_bytes=1 << 30, clock_hz=1e9))
    for change in ({"cores": 2}, {"model": "Other"}, {"vector_bits": 256}, {"caches": {"l1": (1024, False)}}):
        assert host_fingerprint(host()) != host_fingerprint(host(**change))


@pytest.mark.skipif(probe_host().isa not in ("avx2", "avx512"), reason="needs AVX2")
@pytest.mark.parametrize(("name", "isa", "bits"), [("x86-64-v2", "sse2", 128), ("x86-64-v3", "avx2", 256)])
def test_a_lesser_cpu_is_a_device_of_its_own(name: str, isa: str, bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FLASHSCHED_TARGET", raising=False)
    own = host_fingerprint()
    monkeypatch.setenv("FLASHSCHED_TARGET", name)
    spec = devices["cpu"]
    assert spec.cpu is not None
    assert (spec.architecture, spec.cpu.vector_bits, spec.cpu.vector_registers) == (isa, bits, 16)
    assert spec.title == f"{probe_host().model} as {name}"
    assert host_fingerprint() != own
    monkeypatch.setenv("FLASHSCHED_TARGET", "x86-64-v33")
    with pytest.raises(DeviceError, match="LLVM has no CPU of that name"):
        devices["cpu"]


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"schema": "flashsched.measured/9"}', '{"schema": "flashsched.measured/1", "speed": 3}'],
)
def test_a_damaged_record_is_refused(text: str) -> None:
    with pytest.raises(DeviceError, match="not a record of measured figures"):
        Measured.from_json(text)


def test_a_figure_that_is_not_positive_is_refused() -> None:
    with pytest.raises(DeviceError, match="a figure that is not positive"):
        Measured.from_json(measured(host(), bandwidth={"l1": 0.0}).to_json())


@pytest.mark.parametrize("system", ["Linux", "Darwin", "Windows", "Plan9"])
@pytest.mark.parametrize("machine", ["x86_64", "arm64", "riscv64"])
def test_the_probe_degrades_where_the_system_tells_nothing(
    system: str, machine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(*_: object, **__: object) -> None:
        raise OSError("no such thing here")

    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(Path, "read_text", nothing)
    monkeypatch.setattr(host_probe, "_numpy_features", set)
    monkeypatch.setattr(os, "sysconf", nothing, raising=False)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    if system == "Windows":
        monkeypatch.setattr(host_probe.importlib, "import_module", lambda _: _FakeRegistry())
    probe_host.cache_clear()
    try:
        found = probe_host()
    finally:
        probe_host.cache_clear()
    assert found.cores >= 1
    assert found.vector_bits in (64, 128)
    assert found.clock_source.endswith("assumed")
    assert found.caches_source.endswith("assumed")
    assert found.memory_source.endswith("assumed")
    spec = host_spec(None, found)
    assert spec.source_of("clock_hz").status == "estimated"
    assert spec.source_of("memory.l1.size_bytes").status == "estimated"


class _FakeRegistry:
    """Windows's registry with nothing in it."""

    HKEY_LOCAL_MACHINE = 0

    def OpenKey(self, *_: object) -> object:  # noqa: N802
        raise OSError("no such key")


def test_a_container_s_quota_bounds_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"/sys/fs/cgroup/cpu.max": "150000 100000"}
    monkeypatch.setattr(host_probe, "_read", lambda path: files.get(str(path), ""))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert host_probe._cores() == (2, "container quota")
    files["/sys/fs/cgroup/cpu.max"] = "max 100000"
    assert host_probe._cores()[0] == 8
    files |= {"/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "300000", "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"}
    assert host_probe._cores()[0] == 3


def test_hyperthreads_are_one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    def siblings(path: object) -> str:
        text = str(path)
        return f"{int(text.split('cpu/cpu')[1].split('/')[0]) % 4}-x" if "thread_siblings" in text else ""

    monkeypatch.setattr(host_probe, "_read", siblings)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert host_probe._cores() == (4, "affinity mask and thread siblings")


@pytest.mark.parametrize(("text", "size"), [("48K", 49152), ("2048K", 2 << 20), ("260M", 260 << 20), ("", 0), ("x", 0)])
def test_cache_sizes_are_read(text: str, size: int) -> None:
    assert host_probe._size(text) == size


@pytest.mark.parametrize(("flags", "isa"), [("fpu avx512f avx2", "avx512"), ("avx2 avx", "avx2"), ("asimd", "neon")])
def test_the_widest_vectors_are_found(flags: str, isa: str) -> None:
    assert host_probe.widest_vectors(flags.split())[0] == isa


def test_numpy_stands_in_for_flags() -> None:
    assert isinstance(host_probe._numpy_features(), set)
    assert builtins.all(name == name.lower() for name in host_probe._numpy_features())
