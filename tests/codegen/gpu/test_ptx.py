"""PTX: what the GPU templates become, held by the text, by the threads run in Python, and by NVIDIA's assembler."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

import flashsched as fs
from flashsched import te
from flashsched.codegen.gpu.build import build_gpu, lower_gpu
from flashsched.codegen.gpu.plan import plan_of
from flashsched.codegen.gpu.target import GpuArch, arch_of
from flashsched.errors import DeviceError, KernelError, LoweringError
from flashsched.hw.registry import devices
from flashsched.schedule.schedule import Schedule
from flashsched.te import dtypes
from flashsched.te.evaluate import run_graph
from flashsched.te.tensor import Tensor
from flashsched.testing.gpu_programs import staged_sums
from flashsched.testing.gpu_threads import run_on_threads
from flashsched.testing.graphs import Graph, some_sizes
from flashsched.testing.schedules import bound_programs, is_bound

SM80 = GpuArch("sm_80")
NVIDIA = ["p100-sim", "v100-sim", "t4-sim", "a100-sim", "rtx-3090-sim", "rtx-4090-sim", "h100-sim", "b200-sim"]
TEMPLATES: list[tuple[str, tuple[int, ...], dict[str, Any]]] = [
    ("matmul", (20, 18, 10), {}),
    ("matmul", (33, 17, 9), {"bias": True, "activation": "relu"}),
    ("add", (7, 9), {}),
    ("relu", (3, 50), {"dtype": "float16"}),
    ("conv2d", (1, 3, 6, 6, 5, 3, 1, 1), {}),
]


def elementwise(function: Callable[[Any], Any], n: int = 100, dtype: str = "float32") -> tuple[Schedule, list[Tensor]]:
    A = te.placeholder((n,), dtype, name="A")
    C = te.compute((n,), lambda i: function(A[i]), name="C")
    s = te.create_schedule(C)
    block, thread = s[C].split("i", factor=32)
    s[C].bind(block, "blockIdx.x")
    s[C].bind(thread, "threadIdx.x")
    return s, [A, C]


@pytest.mark.parametrize(("op", "shape", "options"), TEMPLATES, ids=lambda x: str(x))
def test_the_threads_of_a_template_compute_the_operator(
    op: str, shape: tuple[int, ...], options: dict[str, Any], candidates: Any
) -> None:
    for seed, candidate in enumerate(candidates(op, shape, "a100-sim", 2, **options)):
        rng = np.random.default_rng(seed)
        feeds = [rng.integers(-3, 4, t.shape).astype(dtypes.numpy_dtype(t.dtype)) for t in candidate.args[:-1]]
        plan = plan_of(lower_gpu(candidate.schedule, candidate.args, op), op)
        wanted = run_graph([candidate.args[-1]], dict(zip(candidate.args, feeds, strict=False)))
        np.testing.assert_array_equal(run_on_threads(plan, feeds, seed)[0], wanted[0])


@pytest.mark.parametrize("device", NVIDIA)
@pytest.mark.parametrize(
    ("op", "shape"), [("matmul", (512, 512, 512)), ("relu", (64, 1000)), ("conv2d", (1, 32, 28, 28, 64, 3, 1, 1))]
)
def test_templates_assemble_for_every_device(
    op: str, shape: tuple[int, ...], device: str, candidates: Any, ptxas: str
) -> None:
    spec = devices[device]
    for candidate in candidates(op, shape, device, 1):
        kernel = build_gpu(candidate.schedule, candidate.args, arch_of(spec), op)
        used = kernel.resources()[op]
        assert spec.gpu is not None
        assert 0 < used.registers <= spec.gpu.max_registers_per_thread
        assert used.shared_bytes == kernel.shared_bytes(kernel.launches[0])
        assert not used.spill_store_bytes


@pytest.mark.parametrize(
    "name", [n for n in devices if devices[n].gpu is not None and devices[n].vendor in ("NVIDIA", "AMD")]
)
def test_every_gpu_has_an_architecture(name: str) -> None:
    arch = arch_of(devices[name])
    assert arch.is_nvidia == (devices[name].vendor == "NVIDIA")
    spec = devices[name].gpu
    assert spec is not None
    assert arch.shared_bytes <= max(spec.shared_bytes_per_block, 48 << 10)


def test_a_product_loads_vectors_and_keeps_its_sums_in_registers(candidates: Any, ptxas: str) -> None:
    """Rows of 128 by 128, three tiles of each operand on their way: the loop, and the two turns that empty it."""
    (candidate,) = candidates("matmul", (4096, 4096, 4096), "a100-sim", 1)
    kernel = build_gpu(candidate.schedule, candidate.args, SM80, "matmul")
    text = kernel.ptx()
    assert ".local" not in text
    assert "%SP" not in text
    assert text.count("fma.rn.f32") == 3 * 4 * 64
    assert text.count("bar.sync") == 2
    assert text.count("cp.async.wait_group") == 1
    assert text.count("ld.shared.v4.b32") == 3 * 4 * 4
    assert text.count("cp.async.ca.shared.global") == 3 * 8  # A, which is turned on its way
    assert text.count("cp.async.cg.shared.global") == 3 * 2  # B
    assert text.count("st.global.v4.b32") == 16
    assert "ld.global" not in text
    assert ".reqntid 16, 16, 1" in text
    used = kernel.resources()["matmul"]
    assert (used.registers <= 128, used.spill_store_bytes) == (True, 0)


def test_an_older_gpu_copies_by_way_of_registers(candidates: Any) -> None:
    (candidate,) = candidates("matmul", (4096, 4096, 4096), "v100-sim", 1)
    text = build_gpu(candidate.schedule, candidate.args, GpuArch("sm_70"), "matmul").ptx()
    assert "cp.async" not in text
    assert text.count("ld.global.nc.v4.b32") == 4
    assert text.count("fma.rn.f32") == 4 * 64


def test_shared_memory_above_48_kb_is_asked_for_at_launch(
    ptxas: str, reversed_in_shared: tuple[Schedule, list[Tensor]]
) -> None:
    s, args = reversed_in_shared
    kernel = build_gpu(s, args, SM80)
    assert ".extern .shared" in kernel.ptx()
    assert kernel.shared_bytes(kernel.launches[0]) == 56_000
    assert kernel.resources()["kernel"].shared_bytes == 0
    with pytest.raises(LoweringError, match=r"56000 bytes of shared memory, and sm_60 has 49152"):
        build_gpu(s, args, GpuArch("sm_60"))


def test_tiles_are_copied_while_threads_compute(ptxas: str) -> None:
    s, args = staged_sums()
    kernel = build_gpu(s, args, SM80)
    text = kernel.ptx()
    assert text.count("cp.async.cg.shared.global") == 4  # the first tile, and the next one
    assert text.count("cp.async.wait_all") == text.count("bar.sync") == 2  # each turn has one
    turn = text[text.index("cp.async.wait_all") :]
    assert turn.index("bar.sync") < turn.index("cp.async.cg") < turn.index("ld.shared")
    kernel.resources()
    a = np.random.default_rng(0).integers(-3, 4, (64, 128)).astype("float32")
    np.testing.assert_array_equal(run_on_threads(kernel.plan, [a])[0], a.sum(0)[::-1])
    assert "cp.async" not in build_gpu(s, args, GpuArch("sm_75")).ptx()


@pytest.mark.parametrize(("rounds", "ahead"), [(1, 1), (2, 2), (3, 2)])
def test_threads_wait_for_tiles_however_few_there_are(rounds: int, ahead: int) -> None:
    """With no more rounds than are filled ahead, the loop in which every stage works has no turn, and no barrier."""
    s, args = staged_sums(rounds, ahead, operands=2)
    feeds = list(np.random.default_rng(0).integers(-3, 4, (2, 8 * rounds, 128)).astype("float32"))
    got = run_on_threads(build_gpu(s, args, SM80).plan, feeds)[0]
    np.testing.assert_array_equal(got, sum(feeds).sum(0)[::-1])


def test_what_is_not_inside_blocks_is_a_kernel_of_its_own() -> None:
    A = te.placeholder((8, 32), name="A")
    k = te.reduce_axis((0, 32), name="k")
    S = te.compute((8,), lambda i: te.sum(A[i, k], axis=k), name="S")
    C = te.compute((8, 32), lambda i, j: A[i, j] - S[i], name="C")
    s = te.create_schedule(C)
    s[S].bind("i", "threadIdx.x")
    s[C].bind("i", "blockIdx.x")
    s[C].bind("j", "threadIdx.x")
    kernel = build_gpu(s, [A, C], SM80, "k")
    assert [(x.name, x.block[0]) for x in kernel.launches] == [("k", 8), ("k_1", 32)]
    assert [b.name for b in kernel.launches[1].buffers] == ["A", "C", "S"]
    a = np.arange(256, dtype="float32").reshape(8, 32)
    np.testing.assert_array_equal(run_on_threads(kernel.plan, [a])[0], a - a.sum(1, keepdims=True))
    s[S].set_scope("shared")
    with pytest.raises(LoweringError, match="S is in shared memory, and several kernels use it"):
        build_gpu(s, [A, C], SM80)


def test_a_condition_between_the_blocks_changes_no_grid() -> None:
    A = te.placeholder((1, 2), name="A")
    C = te.compute((1, 2), lambda i, j: A[i, j] + 1, name="C")
    s = te.create_schedule(C)
    s[C].bind(s[C].split("i", factor=2)[1], "blockIdx.x")
    s[C].bind("j", "blockIdx.y")
    plan = plan_of(lower_gpu(s, [A, C]), "k")
    assert "if i.i < 1:\n      for j in range(2):  # blockIdx.y" in str(plan.program)
    assert [str(extent) for extent in plan.launches[0].grid] == ["2", "2", "1"]
    a = np.array([[1, 2]], "float32")
    np.testing.assert_array_equal(run_on_threads(plan, [a])[0], a + 1)


def test_a_size_is_passed_and_decides_the_grid(ptxas: str) -> None:
    n = te.var("n")
    A = te.placeholder((n,), name="A")
    C = te.compute((n,), lambda i: A[i] * 2, name="C")
    s = te.create_schedule(C)
    block, thread = s[C].split("i", factor=64)
    s[C].bind(block, "blockIdx.x")
    s[C].bind(thread, "threadIdx.x")
    kernel = build_gpu(s, [A, C], SM80)
    assert [scalar.name for scalar in kernel.launches[0].scalars] == ["n"]
    kernel.resources()
    for size in (1, 64, 65, 200):
        a = np.arange(size, dtype="float32")
        np.testing.assert_array_equal(run_on_threads(kernel.plan, [a])[0], 2 * a)


def test_build_names_its_targets() -> None:
    s, args = elementwise(te.exp)
    assert re.search(r"\.target sm_80\b", fs.build(s, args, target="cuda:sm_80").asm())
    assert re.search(r"\.target sm_90\b", fs.build(s, args, target="h100-sim").asm())
    kernel = fs.build(s, args, target="amdgpu")
    with pytest.raises(KernelError, match="compiled for gfx90a, which has no PTX"):
        kernel.ptx()
    with pytest.raises(DeviceError, match="no code is made for cuda 'sm_81'"):
        fs.build(s, args, target="cuda:sm_81")
    with pytest.raises(DeviceError, match="are for kernels of a CPU"):
        fs.build(s, args, target="cuda:sm_80", check_bounds=True)
    assert fs.build(s, args, target="cuda").name == "kernel"


def test_it_is_written_into_files(tmp_path: Any) -> None:
    s, args = elementwise(te.exp)
    kernel = fs.build(s, args, target="cuda:sm_80", name="exps")
    assert ".entry exps" in kernel.save(tmp_path / "k.ptx").read_text()
    assert "ptx_kernel" in kernel.save(tmp_path / "k.ll").read_text()
    with pytest.raises(KernelError, match=r"not written into k\.so"):
        kernel.save(tmp_path / "k.so")


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(bound_programs(), st.integers(0, 3), st.data())
def test_the_threads_of_any_schedule_compute_what_numpy_computes(
    case: tuple[Graph, Schedule], seed: int, data: st.DataObject
) -> None:
    drawn, schedule = case
    if not is_bound(schedule):
        return
    sizes = data.draw(some_sizes(drawn)) if drawn.sizes else {}
    note(f"{drawn!r}\n{schedule.to_python()}")
    try:
        kernel = build_gpu(schedule, [*drawn.inputs, *drawn.outputs], SM80)
    except LoweringError as refused:
        note(refused.reason)
        return
    note(str(kernel.plan.program))
    if any(np.prod(launch.block) > 128 for launch in kernel.launches):
        return
    feeds = drawn.feeds(seed, sizes)
    drawn.check(run_on_threads(kernel.plan, list(feeds.values()), seed), feeds)
