"""The CUDA driver by ctypes, against a stand-in that records calls and fails any of them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import flashsched as fs
from flashsched import te
from flashsched.codegen.gpu.device_spec import cuda_spec
from flashsched.codegen.gpu.driver import cuda_available, open_cuda
from flashsched.errors import DeviceError
from flashsched.schedule.schedule import Schedule
from flashsched.te.tensor import Tensor
from flashsched.tune.measuring.cuda_runner import CudaRunner
from flashsched.tune.runner import runner_for

SOURCE = Path(__file__).with_name("libcuda.c")


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler for the stand-in of the driver")
    made = tmp_path_factory.mktemp("cuda") / "libcuda.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-w", "-o", str(made), str(SOURCE)], check=True)
    return made


class Fake:
    """The stand-in: where it writes its calls, and how it is told to fail."""

    def __init__(self, log: Path, patch: pytest.MonkeyPatch) -> None:
        self.log, self.patch = log, patch

    def calls(self) -> list[str]:
        return self.log.read_text().split("\n")[:-1] if self.log.exists() else []

    def fail(self, function: str, status: int) -> None:
        self.patch.setenv("FAKE_CUDA_FAIL", f"{function}={status}")


@pytest.fixture
def fake(library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    mine = tmp_path / "libcuda.so"  # a copy for each test, so that each opens its device anew
    shutil.copy(library, mine)
    monkeypatch.setenv("FLASHSCHED_LIBCUDA", str(mine))
    monkeypatch.setenv("FAKE_CUDA_LOG", str(tmp_path / "calls"))
    return Fake(tmp_path / "calls", monkeypatch)


def copied(n: int = 100) -> tuple[Schedule, list[Tensor]]:
    A = te.placeholder((n,), name="A")
    C = te.compute((n,), lambda i: A[i], name="C")
    s = te.create_schedule(C)
    block, thread = s[C].split("i", factor=32)
    s[C].bind(block, "blockIdx.x")
    s[C].bind(thread, "threadIdx.x")
    return s, [A, C]


def test_a_call_copies_launches_and_copies_back(fake: Fake) -> None:
    fake.patch.setenv("FAKE_CUDA_COPY", "400")
    s, args = copied()
    kernel = fs.build(s, args, target="cuda", name="copy")
    a = np.arange(100, dtype="float32")
    np.testing.assert_array_equal(kernel(a), a)
    calls = fake.calls()
    kinds = [call.split()[0] for call in calls]
    assert "cuModuleLoadDataEx ptx" in calls
    assert "cuModuleGetFunction copy" in calls
    assert "cuLaunchKernel 4x1x1 32x1x1 0" in calls
    assert kinds.count("cuMemAlloc_v2") == kinds.count("cuMemFree_v2") == 2
    assert kinds.index("cuMemcpyHtoD_v2") < kinds.index("cuLaunchKernel") < kinds.index("cuMemcpyDtoH_v2")
    kernel(a)
    assert [call.split()[0] for call in fake.calls()].count("cuModuleLoadDataEx") == 1  # loaded once


def test_times_are_the_device_s(fake: Fake) -> None:
    s, args = copied()
    run = fs.build(s, args, target="cuda").bound(np.zeros(100, "float32"))
    assert run(3) == pytest.approx(2.5e-3)
    assert [call.split()[0] for call in fake.calls()].count("cuLaunchKernel") == 1 + 3


def test_shared_memory_above_48_kb_is_allowed_for(
    fake: Fake, reversed_in_shared: tuple[Schedule, list[Tensor]]
) -> None:
    s, args = reversed_in_shared
    fs.build(s, args, target="cuda")(np.zeros(14000, "float32"))
    assert "cuFuncSetAttribute 8=56000" in fake.calls()
    assert "cuLaunchKernel 1x1x1 500x1x1 56000" in fake.calls()


@pytest.mark.parametrize(
    ("function", "status", "says"),
    [
        ("cuMemAlloc_v2", 2, "cuMemAlloc_v2 of the CUDA driver fails: CUDA_ERROR_OUT_OF_MEMORY"),
        ("cuModuleLoadDataEx", 218, r"CUDA_ERROR_INVALID_PTX \(218\): line 7: the fake does not like it"),
        ("cuModuleGetFunction", 500, "CUDA_ERROR_NOT_FOUND"),
        ("cuLaunchKernel", 701, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES"),
        ("cuCtxSynchronize", 700, "CUDA_ERROR_ILLEGAL_ADDRESS"),
        ("cuMemcpyHtoD_v2", 1, "CUDA_ERROR_INVALID_VALUE"),
        ("cuMemcpyDtoH_v2", 12345, "CUDA error 12345"),
        ("cuInit", 100, "CUDA_ERROR_NO_DEVICE"),
        ("cuDevicePrimaryCtxRetain", 46, "CUDA_ERROR_DEVICE_UNAVAILABLE"),
    ],
)
def test_each_failure_has_its_name(fake: Fake, function: str, status: int, says: str) -> None:
    s, args = copied()
    kernel = fs.build(s, args, target="cuda:sm_80")
    fake.fail(function, status)
    with pytest.raises(DeviceError, match=says):
        kernel(np.zeros(100, "float32"))
    kinds = [call.split()[0] for call in fake.calls()]
    refused = function == "cuMemAlloc_v2"
    assert kinds.count("cuMemAlloc_v2") - refused == kinds.count("cuMemFree_v2")  # nothing is kept


def test_no_driver_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLASHSCHED_LIBCUDA", "/nowhere/libcuda.so")
    assert not cuda_available()
    for ask in (open_cuda, cuda_spec, CudaRunner, lambda: runner_for("cuda")):
        with pytest.raises(DeviceError, match=r"^there is no CUDA driver here: /nowhere/libcuda.so can't be loaded"):
            ask()
    s, args = copied()
    with pytest.raises(DeviceError, match="there is no CUDA driver here"):
        fs.build(s, args, target="cuda")(np.zeros(100, "float32"))


def test_a_driver_without_devices(fake: Fake) -> None:
    fake.patch.setenv("FAKE_CUDA_DEVICES", "0")
    with pytest.raises(DeviceError, match="finds 0 devices here, and device 0 is asked for"):
        open_cuda()


@pytest.mark.parametrize(
    ("name", "units", "gigabytes", "like", "level"),
    [
        ("NVIDIA A100-SXM4-80GB", 108, 80, 19.5e12, 80e9),
        ("NVIDIA A100-PCIE-40GB", 108, 40, 19.5e12, 40e9),
        ("NVIDIA H100 80GB HBM3", 132, 80, 67e12, 80e9),  # as the driver calls an H100 SXM5
        ("NVIDIA H100 PCIe", 114, 80, 51e12, 80e9),
        ("NVIDIA A77 secret", 108, 80, 19.5e12, 80e9),  # a relative's figures
    ],
)
def test_the_device_here_as_a_spec(
    fake: Fake, name: str, units: int, gigabytes: int, like: float, level: float
) -> None:
    fake.patch.setenv("FAKE_CUDA_NAME", name)
    fake.patch.setenv("FAKE_CUDA_UNITS", str(units))
    fake.patch.setenv("FAKE_CUDA_GIGABYTES", str(gigabytes))
    spec = cuda_spec()
    assert (spec.name, spec.title, spec.units) == ("cuda", name, units)
    assert spec.peak("float32") == pytest.approx(like, rel=0.01)
    assert spec.memory[-1].size_bytes == level


def test_the_tuner_measures_on_it(fake: Fake, tmp_path: Path) -> None:
    """The fake device computes nothing, so every trial is wrong, and says so in the log."""
    task = fs.Task("relu", shape=(4, 32))
    result = fs.tune(task, device="cuda", trials=2, log=tmp_path / "log.jsonl", seed=0)
    assert [record.status for record in result.records] == ["wrong", "wrong"]
    assert result.records[0].device == "cuda"
    assert result.records[0].source == "measured"
    assert result.records[0].target["device"] == "NVIDIA A100-SXM4-80GB"


def test_a_kernel_that_ruins_the_device_ends_its_worker_only(fake: Fake, tmp_path: Path) -> None:
    fake.fail("cuCtxSynchronize", 700)
    task = fs.Task("relu", shape=(4, 32))
    result = fs.tune(task, device="cuda", trials=2, log=tmp_path / "log.jsonl", seed=0)
    assert [record.status for record in result.records] == ["crash", "crash"]
    assert "CUDA_ERROR_ILLEGAL_ADDRESS" in str(result.records[0].extra)
