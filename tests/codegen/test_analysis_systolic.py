"""What a nest may ask of a TPU or of an accelerator at the edge, and what it may not."""

from __future__ import annotations

import pytest

import flashsched as fs
from flashsched import te
from flashsched.codegen.analysis import simulate
from flashsched.errors import DeviceError, Infeasible
from flashsched.hw import devices


def test_a_nest_of_blocks_and_threads_is_refused() -> None:
    x = te.placeholder((512, 512), name="x")
    out = te.compute((512, 512), lambda i, j: x[i, j] + 1, name="out")
    s = te.create_schedule(out)
    s[out].bind(s[out].op.axis[0], te.thread_axis("blockIdx.x"))
    for name in ("tpu-v4-sim", "edge-tpu-sim"):
        with pytest.raises(Infeasible, match=f"loop 'i' is bound to blockIdx.x, and {name} has no blocks"):
            simulate(s, devices[name])


@pytest.mark.parametrize(("name", "dtype"), [("ane-m1-sim", "float32"), ("tpu-v4-sim", "float64")])
def test_a_product_in_a_dtype_that_a_chip_lacks_is_refused(name: str, dtype: str) -> None:
    a, b = (te.placeholder((64, 64), dtype, name=name) for name in "ab")
    k = te.reduce_axis((0, 64), name="k")
    out = te.compute((64, 64), lambda i, j: te.sum(a[i, k] * b[k, j], axis=k), name="out")
    with pytest.raises(DeviceError, match=f"'{name}' has no peak for {dtype}"):
        simulate(te.create_schedule(out), devices[name])


def test_sums_on_the_way_may_be_wider_than_a_chip_s_products() -> None:
    task = fs.Task("layernorm", (64, 64), "float16")  # whose sums are in float32
    assert simulate(task.replay(fs.Trace()).schedule, devices["ane-m1-sim"]).time_s > 0
