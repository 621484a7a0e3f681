"""Tensor cores: what the lanes of a warp do together, in the nest, on threads, on a CPU, and as PTX."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import flashsched as fs
from flashsched import te
from flashsched.codegen.gpu.build import build_gpu
from flashsched.codegen.gpu.target import GpuArch, arch_of
from flashsched.errors import LoweringError, StructureError
from flashsched.hw.registry import devices
from flashsched.schedule.ir import Alloc, walk_stmt
from flashsched.schedule.schedule import Schedule
from flashsched.te.dtypes import numpy_dtype
from flashsched.te.tensor import Tensor
from flashsched.testing.checks import check_round_trip
from flashsched.testing.gpu_threads import run_on_threads

NAMES = {"float16": "nvidia.mma.m16n8k16.f16", "bfloat16": "nvidia.mma.m16n8k16.bf16"}


def product(m: int, n: int, k: int, dtype: str, staged: bool = False, lanes: int = 32) -> tuple[Schedule, list[Tensor]]:
    """Blocks of 32 x 16, two warps each with 16 rows; operands from global memory, or *staged* in shared memory."""
    A, B = te.placeholder((m, k), dtype, name="A"), te.placeholder((k, n), dtype, name="B")
    axis = te.reduce_axis((0, k), name="k")
    C = te.compute(
        (m, n), lambda i, j: te.sum(A[i, axis].astype("float32") * B[axis, j].astype("float32"), axis=axis), name="C"
    )
    s = te.create_schedule(C)
    sums = s.cache_write(C, "local")
    copies = [s.cache_read(x, "shared", [sums]) for x in (A, B)] if staged else []
    io, jo, ii, ji = s[C].tile(*s[C].op.axis, 32, 16)
    warp, ii = s[C].split(ii, factor=16)
    s[C].reorder(io, jo, warp, ii, ji)
    for loop, axis_name in ((io, "blockIdx.y"), (jo, "blockIdx.x"), (warp, "threadIdx.y")):
        s[C].bind(loop, axis_name)
    s[sums].compute_at(s[C], warp)
    (i, j), (kk,) = s[sums].op.axis, s[sums].op.reduce_axis
    jo, ji2 = s[sums].split(j, factor=8)
    ko, ki = s[sums].split(kk, factor=16)
    s[sums].reorder(ko, jo, i, ji2, ki)
    s[sums].tensorize(i, NAMES[dtype])
    _, lane = s[C].split(s[C].fuse(ii, ji), factor=lanes)
    s[C].bind(lane, "threadIdx.x")
    for copy in copies:
        s[copy].compute_at(s[sums], ko)
        whole = s[copy].fuse(*s[copy].op.axis)
        rows, x = s[copy].split(whole, factor=lanes)
        _, y = s[copy].split(rows, factor=2)
        s[copy].bind(y, "threadIdx.y")
        s[copy].bind(x, "threadIdx.x")
    return s, [A, B, C]


def warp_product(
    m: int, n: int, k: int, dtype: str = "float16", turned: str = "", stages: int = 1, lanes: bool = True
) -> tuple[Schedule, list[Tensor]]:
    """A warp a block, whose *lanes* read the sums that they hold, or else rows of 32. *turned* may name A and B."""
    A = te.placeholder((k, m) if "A" in turned else (m, k), dtype, name="A")
    B = te.placeholder((n, k) if "B" in turned else (k, n), dtype, name="B")
    axis = te.reduce_axis((0, k), name="k")

    def one(i: te.Expr, j: te.Expr) -> te.Expr:
        a = A[axis, i] if "A" in turned else A[i, axis]
        b = B[j, axis] if "B" in turned else B[axis, j]
        return te.sum(a.astype("float32") * b.astype("float32"), axis=axis)

    C = te.compute((m, n), one, name="C")
    s = te.create_schedule(C)
    sums = s.cache_write(C, "local")
    copies = [s.cache_read(x, "shared", [sums]) for x in (A, B)]
    io, jo, ii, ji = s[C].tile(*s[C].op.axis, 16, 8)
    for loop, name in ((io, "blockIdx.y"), (jo, "blockIdx.x")):
        s[C].bind(loop, name)
    s[sums].compute_at(s[C], jo)
    ko, ki = s[sums].split("k", factor=16)
    s[sums].reorder(ko, *s[sums].op.axis, ki)
    s[sums].tensorize(s[sums].op.axis[0], NAMES[dtype])
    if lanes:
        half, row = s[C].split(ii, factor=8)
        column, pair = s[C].split(ji, factor=2)
        s[C].reorder(half, row, column, pair)
        s[C].bind(s[C].fuse(row, column), "threadIdx.x")
        s[C].vectorize(pair)
    else:
        s[C].bind(s[C].split(s[C].fuse(ii, ji), factor=32)[1], "threadIdx.x")
    for copy in copies:
        s[copy].compute_at(s[sums], ko)
        s[copy].storage_align(0, factor=16, offset=8)
        _, thread = s[copy].split(s[copy].fuse(*s[copy].op.axis), factor=32)
        s[copy].bind(thread, "threadIdx.x")
    if stages > 1:
        s[sums].software_pipeline(ko, stages=[0, 0, stages - 1])
    return s, [A, B, C]


def feeds(args: list[Tensor]) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(-3, 4, t.known_shape).astype(numpy_dtype(t.dtype)) for t in args[:2]]


@pytest.mark.parametrize("staged", [False, True])
@pytest.mark.parametrize("dtype", NAMES)
def test_it_means_the_product(dtype: str, staged: bool) -> None:
    s, args = product(32, 16, 16, dtype, staged)
    a, b = feeds(args)
    wanted = a.astype("float32") @ b.astype("float32")
    kernel = build_gpu(s, args, GpuArch("sm_80"))
    assert kernel.launches[0].block == (32, 2, 1)
    np.testing.assert_array_equal(run_on_threads(kernel.plan, [a, b])[0], wanted)
    np.testing.assert_array_equal(fs.build(s, args)(a, b), wanted)  # a CPU runs the loops that say what it means
    check_round_trip(s)


@pytest.mark.parametrize(("dtype", "arch"), [("float16", "sm_80"), ("bfloat16", "sm_90"), ("float16", "sm_100")])
def test_it_assembles(dtype: str, arch: str, ptxas: str) -> None:
    s, args = product(64, 64, 64, dtype, staged=True)
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
    assert (sums.name, sums.held) == ("C.local", NAMES["float16"])
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
    """Four steps of two mma's depth, the loop and the three turns that empty it: 4 x 4 tiles a warp."""
    (candidate,) = candidates("matmul", (4096, 4096, 4096), device, 1, dtype=dtype)
    kernel = build_gpu(candidate.schedule, candidate.args, arch_of(devices[device]), "matmul")
    text = kernel.ptx()
    assert text.count("mma.sync") == 4 * 2 * 16
    assert text.count("ldmatrix") == 4 * 2 * (4 + 4)  # each fragment once
    assert text.count("cp.async.cg.shared.global") == 4 * 4
    assert re.search(r"cp\.async\.wait_group\s+2;", text)
    assert "ld.shared" not in text
    assert "st.shared" not in text
    used = kernel.resources()["matmul"]
    assert used.registers <= 128  # two blocks of 256 threads on a unit
    assert not used.spill_store_bytes
    assert not used.stack_bytes


def test_an_older_gpu_has_none() -> None:
    s, args = product(32, 16, 16, "float16")
    with pytest.raises(LoweringError, match="needs a CPU with sm_80, and sm_75 has not"):
        build_gpu(s, args, GpuArch("sm_75"))


def test_rows_of_threads_must_be_warps() -> None:
    s, args = product(32, 16, 16, "float16", lanes=16)
    with pytest.raises(LoweringError, match=r"run by the 32 lanes of a warp, and threadIdx\.x has 16"):
        build_gpu(s, args, GpuArch("sm_80"))


def test_the_lanes_are_not_bound_outside_of_it() -> None:
    s, args = product(64, 16, 16, "float16")
    C = args[2]
    s = te.create_schedule(C)
    i, j = s[C].op.axis
    io, ii = s[C].split(i, factor=16)
    jo, ji = s[C].split(j, factor=8)
    s[C].reorder(io, jo, ii, ji, "k")
    s[C].bind(io, "threadIdx.x")
    with pytest.raises(StructureError, match=r"run by the 32 lanes of a warp together, and stands inside 'i\.o'"):
        s[C].tensorize(ii, NAMES["float16"])
