"""Products and element-wise operations as libraries run them on TPUs and CPUs: bounds, growth, published figures."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flashsched.hw import DeviceSpec, devices
from flashsched.hw.operators import elementwise_systolic, estimate, gemm_cpu, gemm_systolic, operator_model
from flashsched.hw.operators.elementwise import FUNCTIONS

TPUS = [devices[name] for name in ("tpu-v3", "tpu-v4", "tpu-v5e", "tpu-v6e", "gaudi2")]
CPUS = [devices[name] for name in ("cpu-xeon", "xeon-platinum-8480", "epyc-7h12-2s", "apple-m1-cpu", "cortex-a53")]
ADD = next(index for index, one in enumerate(FUNCTIONS) if one.name == "add")


def constants(model: Any, share: float) -> dict[str, float]:
    """Values between the lowest and the highest of each constant."""
    return {name: one.low + share * (one.high - one.low) for name, one in model.CONSTANTS.items()}


SIDES = st.integers(1, 20_000)


def gemm(spec: DeviceSpec) -> tuple[Any, str]:
    return (gemm_systolic, "bfloat16") if spec.kind == "tpu" else (gemm_cpu, "float32")


@settings(deadline=None)
@given(spec=st.sampled_from([*TPUS, *CPUS]), m=SIDES, n=SIDES, k=SIDES, share=st.floats(0, 1), warm=st.integers(0, 1))
def test_no_product_beats_its_device(spec: DeviceSpec, m: int, n: int, k: int, share: float, warm: int) -> None:
    model, dtype = gemm(spec)
    sizes = {name: np.array([value]) for name, value in (("m", m), ("n", n), ("k", k), ("warm", warm))}
    said = model.seconds(spec, constants(model, share), dtype, sizes)
    bound = max(2.0 * m * n * k / spec.peak(dtype), 0.0)
    assert said[0] >= model.roofline(spec, dtype, sizes)[0] >= bound
    assert np.isfinite(said).all()


@settings(deadline=None)
@given(
    spec=st.sampled_from([*TPUS, *CPUS]),
    sides=st.tuples(SIDES, SIDES, SIDES),
    share=st.floats(0, 1),
    more=st.integers(1, 5000),
)
@example(spec=devices["cpu-xeon-sim"], sides=(1, 1, 272), share=0.0, more=16)
def test_larger_products_never_take_less(spec: DeviceSpec, sides: Any, share: float, more: int) -> None:
    model, dtype = gemm(spec)
    rows = [sides, *(tuple(side + more * (at == axis) for at, side in enumerate(sides)) for axis in range(3))]
    sizes = dict(zip("mnk", np.array(rows).T, strict=True))
    said = model.seconds(spec, constants(model, share), dtype, sizes)
    assert (said[1:] >= said[0] * (1 - 1e-9)).all()


@settings(deadline=None)
@given(spec=st.sampled_from(CPUS), m=SIDES, n=SIDES, k=SIDES, share=st.floats(0, 1))
def test_more_threads_never_take_longer(spec: DeviceSpec, m: int, n: int, k: int, share: float) -> None:
    threads = np.array([1, 2, 3, 7, 16, 64, 0])
    sizes = {name: np.full(len(threads), value) for name, value in (("m", m), ("n", n), ("k", k))}
    said = gemm_cpu.seconds(spec, constants(gemm_cpu, share), "float32", sizes | {"threads": threads})
    assert (np.diff(said) <= said[:-1] * 1e-9).all()


@settings(deadline=None)
@given(spec=st.sampled_from(TPUS), m=SIDES, n=SIDES, inner=st.integers(0, 64), share=st.floats(0, 1))
def test_no_element_wise_operation_beats_its_device(spec: DeviceSpec, m: int, n: int, inner: int, share: float) -> None:
    sizes = {name: np.array([v]) for name, v in (("m", m), ("n", n), ("inner", inner), ("function", ADD))}
    said = elementwise_systolic.seconds(spec, constants(elementwise_systolic, share), "bfloat16", sizes)
    assert said[0] >= elementwise_systolic.roofline(spec, "bfloat16", sizes)[0]
    twice = sizes | {"m": np.array([2 * m])}
    later = elementwise_systolic.seconds(spec, constants(elementwise_systolic, share), "bfloat16", twice)
    assert later[0] >= said[0] * (1 - 1e-9) or m == 1 or inner  # a vector may fill registers that two rows can't


def test_float32_takes_six_passes_on_a_tpu() -> None:
    spec, sizes = devices["tpu-v4"], {"m": 8192, "n": 8192, "k": 8192}
    narrow, wide = (estimate(spec, "gemm", dtype, sizes)[0][0] for dtype in ("bfloat16", "float32"))
    as_narrow = estimate(spec, "gemm", "float32/bfloat16", sizes)[0][0]
    assert 4 < wide / narrow <= 6.1
    assert narrow < as_narrow < wide


def test_short_rows_leave_lanes_of_a_tpu_idle() -> None:
    sizes = {"m": np.array([1, 256, 512]), "n": np.array([8192, 32, 16]), "inner": np.array([1, 16, 16])}
    said, _ = estimate(devices["tpu-v4"], "elementwise", "float16", sizes | {"function": np.array([ADD] * 3)})
    assert said[0] < said[1] <= said[2]


@pytest.mark.parametrize(
    ("device", "dtype", "size", "measured_s"),
    [
        ("tpu-v5e", "bfloat16", 8192, 6.05e-3),  # JAX's documentation of Pallas, XLA's own product
        ("tpu-v5e", "bfloat16", 4096, 0.83e-3),
        ("apple-m1-cpu", "float32", 1024, 1.69e-3),  # keichi/m1-benchmarks, Accelerate
        ("apple-m1-cpu", "float32", 8192, 1.206),
        ("apple-m2-cpu", "float32", 768, 0.55e-3),  # danieldk/gemm-benchmark
    ],
)
def test_published_products_are_near(device: str, dtype: str, size: int, measured_s: float) -> None:
    said, _ = estimate(devices[device], "gemm", dtype, {"m": size, "n": size, "k": size})
    assert 0.5 < said[0] / measured_s < 1.6  # nothing was fitted to them


def test_each_kind_has_its_model() -> None:
    assert operator_model("gemm", devices["tpu-v4"]) is gemm_systolic
    assert operator_model("gemm", devices["cpu-xeon"]) is gemm_cpu
    assert operator_model("elementwise", devices["tpu-v4"]) is elementwise_systolic
    assert gemm_cpu.variant(devices["apple-m1-cpu"], "float32") == "matrix"
    assert gemm_cpu.variant(devices["cpu-xeon"], "float32") == "cores"
