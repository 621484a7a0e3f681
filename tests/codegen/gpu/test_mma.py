"""Tensor cores: what the lanes of a warp do together, in the nest, on threads, on a CPU, and as PTX."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import flashsched as fs
from flashsched import te
from flashsched.codegen.analysis import nest_works
from flashsched.codegen.gpu.build import build_gpu
from flashsched.codegen.gpu.target import GpuArch, arch_of
from flashsched.errors import DtypeError, LoweringError, StructureError
from flashsched.hw.registry import devices
from flashsched.ops.matmul_gpu import matmul_gpu
from flashsched.schedule.ir import Alloc, walk_stmt
from flashsched.te.dtypes import numpy_dtype
from flashsched.te.evaluate import call_function
from flashsched.te.tensor import Tensor
from flashsched.testing.checks import check_round_trip
from flashsched.testing.gpu_programs import MMA, mma_product, warp_product
from flashsched.testing.gpu_threads import run_on_threads
from flashsched.tune.search.knobs import FirstKnobs


def feeds(args: list[Tensor]) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(-3, 4, t.known_shape).astype(numpy_dtype(t.dtype)) for t in args[:2]]


@pytest.mark.parametrize("staged", [False, True])
@pytest.mark.parametrize("dtype", MMA)
def test_it_means_the_product(dtype: str, staged: bool) -> None:
    s, args = mma_product(32, 16, 16, dtype, staged)
    a, b = feeds(args)
    wanted = a.astype("float32") @ b.astype("float32")
    kernel = build_gpu(s, args, GpuArch("sm_80"))
    assert kernel.launches[0].block == (32, 2, 1)
    np.testing.assert_array_equal(run_on_threads(kernel.plan, [a, b])[0], wanted)
    np.testing.assert_array_equal(fs.build(s, args)(a, b), wanted)  # a CPU runs the loops that say what it means
    check_round_trip(s)


@pytest.mark.parametrize(("dtype", "arch"), [("float16", "sm_80"), ("bfloat16", "sm_90"), ("float16", "sm_100")])
def test_it_assembles(dtype: str, arch: str, ptxas: str) -> None:
    s, args = mma_product(64, 64, 64, dtype, staged=True)
    kernel = build_gpu(s, args, GpuArch(arch))
    short = "f16" if dtype == "float16" else "bf16"
    assert f"mma.sync.aligned.m16n8k16.row.col.f32.{short}.{short}.f32" in kernel.ptx()
    assert kernel.ptx().count("bar.sync") == 3  # before the tiles are filled, after, and before the sums are read
    assert not kernel.resources()["kernel"].spill_store_bytes


@pytest.mark.parametrize("stages", [1, 3])
def test_lanes_hold_the_sums(stages: int) -> None:
    s, args = warp_product(16, 8, 48, stages=stages)
    plan = build_gpu(s, args, GpuArch("sm_80")).plan
    (sums,) = [n.buffer for n in walk_stmt(plan.launches[0].body) if isinstance(n, Alloc) and n.buffer.held]
    assert (sums.name, sums.held) == ("C.local", MMA["float16"])
    a, b = feeds(args)
    np.testing.assert_array_equal(run_on_threads(plan, [a, b])[0], a.astype("float32") @ b.astype("float32"))


def test_sums_that_lanes_read_of_each_other_are_shared() -> None:
    s, args = warp_product(16, 8, 16, lanes=False)
    kernel = build_gpu(s, args, GpuArch("sm_80"))
    assert not any(n.buffer.held for n in walk_stmt(kernel.plan.launches[0].body) if isinstance(n, Alloc))
    assert "st.shared.b32" in kernel.ptx()


@pytest.mark.parametrize("turned", ["", "A", "B", "AB"])
def test_tiles_in_aligned_rows_are_fetched_by_ldmatrix(turned: str, ptxas: str) -> None:
    s, args = warp_product(64, 64, 64, turned=turned)
    kernel = build_gpu(s, args, GpuArch("sm_80"))
    text = kernel.ptx()
    assert text.count("ldmatrix") == 2 * text.count("mma.sync") > 0
    assert text.count("x4.trans") == (text.count("mma.sync") if "A" in turned else 0)
    assert text.count("x2.trans") == (0 if "B" in turned else text.count("mma.sync"))
    assert ".local" not in text  # the sums are registers
    kernel.resources()


@pytest.mark.parametrize(("device", "dtype"), [("a100-sim", "float16"), ("h100-sim", "bfloat16")])
def test_the_template_multiplies_on_tensor_cores(device: str, dtype: str, candidates: Any, ptxas: str) -> None:
    """Four steps of two mma's depth, the loop and the three turns that empty it: 4 x 8 tiles a warp."""
    (candidate,) = candidates("matmul", (4096, 4096, 4096), device, 1, dtype=dtype)
    kernel = build_gpu(candidate.schedule, candidate.args, arch_of(devices[device]), "matmul")
    text = kernel.ptx()
    assert text.count("mma.sync") == 4 * 2 * 32
    assert text.count("ldmatrix") == 4 * 2 * (4 + 8)  # each fragment once
    assert text.count("cp.async.cg.shared.global") == 4 * 8
    assert re.search(r"cp\.async\.wait_group\s+2;", text)
    assert "ld.shared" not in text
    assert "st.shared" not in text
    used = kernel.resources()["matmul"]
    assert used.registers <= 168  # three blocks of 128 threads on a unit
    assert not used.spill_store_bytes
    assert not used.stack_bytes


def rounded_product(n: int) -> list[Tensor]:
    """A product of float32 matrices that the program rounds to tf32."""
    A, B = te.placeholder((n, n), name="A"), te.placeholder((n, n), name="B")
    k = te.reduce_axis((0, n), name="k")
    return [A, B, te.compute((n, n), lambda i, j: te.sum(te.tf32(A[i, k]) * te.tf32(B[k, j]), axis=k), name="C")]


def test_float32_that_the_program_rounds_is_multiplied_on_tensor_cores(ptxas: str) -> None:
    args = rounded_product(1024)
    s = te.create_schedule(args[-1])
    matmul_gpu(s, args, FirstKnobs(), devices["a100-sim"])
    kernel = build_gpu(s, args, GpuArch("sm_80"), "matmul")
    text = kernel.ptx()
    assert "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32" in text
    assert "cvt.rna.tf32.f32" in text
    assert "fma.rn.f32" not in text
    assert not kernel.resources()["matmul"].spill_store_bytes
    (work,) = nest_works(s, devices["a100-sim"])
    assert work.flops == {"tf32": 2.0 * 1024**3}


def test_a_cpu_rounds_as_the_program_says() -> None:
    args = rounded_product(16)
    s = te.create_schedule(args[-1])
    a, b = (np.random.default_rng(0).standard_normal((16, 16)).astype("float32") for _ in range(2))
    rounded = call_function("tf32")
    got = fs.build(s, args)(a, b)
    np.testing.assert_allclose(got, rounded(a).astype("float64") @ rounded(b).astype("float64"), rtol=1e-5, atol=1e-6)
    assert np.abs(got - a.astype("float64") @ b.astype("float64")).max() > 1e-4
    with pytest.raises(DtypeError, match="is asked of float64, and rounds float32"):
        te.tf32(te.placeholder((4,), "float64", name="X")[0])


def test_plain_float32_is_not_rounded(candidates: Any) -> None:
    (candidate,) = candidates("matmul", (1024, 1024, 1024), "a100-sim", 1)
    assert "mma" not in build_gpu(candidate.schedule, candidate.args, GpuArch("sm_80")).ptx()


def test_an_older_gpu_has_none() -> None:
    s, args = mma_product(32, 16, 16, "float16")
    with pytest.raises(LoweringError, match="needs a CPU with sm_80, and sm_75 has not"):
        build_gpu(s, args, GpuArch("sm_75"))


def test_rows_of_threads_must_be_warps() -> None:
    s, args = mma_product(32, 16, 16, "float16", lanes=16)
    with pytest.raises(LoweringError, match=r"run by the 32 lanes of a warp, and threadIdx\.x has 16"):
        build_gpu(s, args, GpuArch("sm_80"))


def test_the_lanes_are_not_bound_outside_of_it() -> None:
    s, args = mma_product(64, 16, 16, "float16")
    C = args[2]
    s = te.create_schedule(C)
    i, j = s[C].op.axis
    io, ii = s[C].split(i, factor=16)
    jo, ji = s[C].split(j, factor=8)
    s[C].reorder(io, jo, ii, ji, "k")
    s[C].bind(io, "threadIdx.x")
    with pytest.raises(StructureError, match=r"run by the 32 lanes of a warp together, and stands inside 'i\.o'"):
        s[C].tensorize(ii, MMA["float16"])
