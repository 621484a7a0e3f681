"""AMD's GPUs: the same nests as assembly and as objects."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from flashsched import te
from flashsched.codegen.gpu.build import build_gpu
from flashsched.codegen.gpu.target import GpuArch, arch_of
from flashsched.errors import KernelError
from flashsched.hw.registry import devices

DEVICES = ["mi100-sim", "mi210-sim", "mi300x-sim", "rx-6900-xt-sim"]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("op", "shape"), [("matmul", (512, 512, 512)), ("relu", (64, 1000)), ("conv2d", (1, 32, 28, 28, 64, 3, 1, 1))]
)
def test_templates_become_objects(op: str, shape: tuple[int, ...], device: str, candidates: Any) -> None:
    (candidate,) = candidates(op, shape, device, 1)
    kernel = build_gpu(candidate.schedule, candidate.args, arch_of(devices[device]), op)
    code = kernel.object_code()
    assert code[:4] == b"\x7fELF"
    assert f".amdhsa_kernel {op}" in kernel.asm()
    assert ".amdhsa_private_segment_fixed_size 0\n" in kernel.asm()  # nothing is spilled, no array has an address


def test_threads_wait_and_share_lds() -> None:
    A = te.placeholder((4, 256), name="A")
    B = te.compute((4, 256), lambda i, j: A[i, j] + 1, name="B")
    C = te.compute((4, 256), lambda i, j: B[i, 255 - j] * 2, name="C")
    s = te.create_schedule(C)
    s[B].set_scope("shared")
    s[C].bind("i", "blockIdx.x")
    s[B].compute_at(s[C], "i")
    s[C].bind("j", "threadIdx.x")
    s[B].bind("j", "threadIdx.x")
    text = build_gpu(s, [A, C], GpuArch("gfx90a")).asm()
    assert text.count("s_barrier\n") == 1
    assert ".amdhsa_group_segment_fixed_size 1024" in text
    assert "ds_write_b32" in text
    assert "ds_read_b32" in text
    assert "global_load_dword" in text  # not flat_load: LLVM knows that arrays are global memory


def test_a_call_says_what_can_be_done() -> None:
    A = te.placeholder((4,), name="A")
    C = te.compute((4,), lambda i: A[i] + 1, name="C")
    s = te.create_schedule(C)
    s[C].bind("i", "threadIdx.x")
    kernel = build_gpu(s, [A, C], GpuArch("gfx942"))
    with pytest.raises(KernelError, match="compiled for gfx942, and kernels are run on CUDA devices only"):
        kernel(np.zeros(4, "float32"))
