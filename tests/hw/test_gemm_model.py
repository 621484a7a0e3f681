"""Products as libraries compute them: one model for one candidate and for many, and what must hold of it."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashsched.errors import DeviceError, Infeasible
from flashsched.hw import DeviceSpec, Work, devices, predict
from flashsched.hw.gpu import gpu_times
from flashsched.hw.gpu_constants import NESTS
from flashsched.hw.gpu_power import FEW_MACS, power_s
from flashsched.hw.occupancy import gpu_unit
from flashsched.hw.operators import OPERATORS, estimate, gemm
from flashsched.hw.validation.fit import fitted_values, predicted
from flashsched.hw.validation.rows import Rows
from flashsched.hw.validation.timing import timing_of
from flashsched.hw.works import Works

GPUS = [devices[name] for name in ("a100-sim", "h100-sim", "t4-sim", "v100-sim", "mi210-sim", "p100-sim", "b200-sim")]
A100 = devices["a100-sim"]
DEFAULTS = {name: one.default for name, one in gemm.CONSTANTS.items()}


def constants() -> st.SearchStrategy[dict[str, float]]:
    """Any values that a fit may come to."""
    return st.fixed_dictionaries({name: st.floats(one.low, one.high) for name, one in gemm.CONSTANTS.items()})


def seconds(spec: DeviceSpec, values: dict[str, float], dtype: str, *sizes: tuple[int, ...]) -> np.ndarray:
    columns = dict(zip(("m", "n", "k", "batch"), np.array([(*size, 1)[:4] for size in sizes]).T, strict=True))
    return gemm.gemm_seconds(spec, values, dtype, columns)


@settings(deadline=None)  # a shared machine may stall
@given(
    spec=st.sampled_from(GPUS),
    many=st.lists(
        st.fixed_dictionaries(
            {
                "blocks": st.integers(1, 10_000),
                "threads_per_block": st.integers(1, 1024),
                "registers_per_thread": st.integers(1, 300),
                "shared_bytes_per_block": st.integers(0, 300_000),
                "l2_read_bytes": st.floats(0, 1e10),
                "steps": st.floats(1, 1e3),
                "stages": st.integers(1, 4),
                "bytes_in_flight": st.floats(1, 256),
                "accumulators": st.floats(1, 64),
            }
        ),
        min_size=1,
        max_size=5,
    ),
)
def test_many_candidates_at_once_are_judged_as_one_by_one(spec: DeviceSpec, many: list[dict[str, float]]) -> None:
    fixed = {"flops": {"float32": 1e9}, "dram_read_bytes": 1e6, "dram_write_bytes": 1e6}
    columns = {name: np.array([one[name] for one in many], dtype=float) for name in many[0]}
    together = gpu_times(spec, Works(**fixed, **columns), NESTS).seconds
    for one, found in zip(many, together, strict=True):
        try:
            alone = predict(spec, Work(**fixed, **one)).time_s
        except Infeasible:
            alone = np.inf
        assert found == pytest.approx(alone, rel=1e-6)


@settings(deadline=None, max_examples=50)
@given(spec=st.sampled_from(GPUS), values=constants(), size=st.tuples(*[st.integers(1, 9000)] * 3, st.integers(1, 64)),
       warm=st.booleans())  # fmt: skip
def test_no_product_beats_the_roofline(
    spec: DeviceSpec, values: dict[str, float], size: tuple[int, ...], warm: bool
) -> None:
    sizes = {name: np.array([one]) for name, one in zip(gemm.SIZES, size, strict=True)} | {"warm": np.array([warm])}
    for dtype in ("float32", "float16"):
        found = gemm.gemm_seconds(spec, values, dtype, sizes)
        assert np.isfinite(found).all()
        assert found >= gemm.roofline(spec, dtype, sizes)
        assert found >= 2.0 * np.prod([float(one) for one in size]) / spec.peak(dtype)


@settings(deadline=None, max_examples=50)
@given(spec=st.sampled_from(GPUS), size=st.tuples(*[st.integers(1, 60)] * 3), axis=st.integers(0, 2))
def test_time_grows_with_work(spec: DeviceSpec, size: tuple[int, int, int], axis: int) -> None:
    less = tuple(64 * one for one in size)
    more = tuple(one * (2 if place == axis else 1) for place, one in enumerate(less))
    for dtype in ("float32", "float16"):
        few, many = seconds(spec, DEFAULTS, dtype, less, more)
        assert many >= few * 0.99  # more rows keep more units busy, which draw the weights a little sooner


@settings(deadline=None, max_examples=50)
@given(spec=st.sampled_from(GPUS), size=st.tuples(*[st.integers(1, 5000)] * 3), share=st.floats(0.1, 0.9))
def test_a_lesser_device_is_never_faster(spec: DeviceSpec, size: tuple[int, int, int], share: float) -> None:
    whole = seconds(spec, DEFAULTS, "float16", size)
    fewer = spec.replace(units=max(1, round(spec.units * share)))
    narrow = spec.replace(memory={"dram": {"bandwidth_bytes_per_s": spec.dram.bandwidth_bytes_per_s * share}})
    for worse in (fewer, narrow, spec.replace(sustained_clock=spec.sustained_clock * share)):
        assert seconds(worse, DEFAULTS, "float16", size) >= whole * (1 - 1e-9)


def test_a_power_limit_slows_by_less_than_what_it_lacks() -> None:
    t4, size = devices["t4-sim"], (8192, 8192, 8192)  # 70 W for lanes that would draw twice as much
    at_70, at_35, free = (
        seconds(t4.replace(power_w=watts), DEFAULTS, "float32", size)[0] for watts in (70.0, 35.0, 10_000.0)
    )
    assert 1.2 * free < at_70 < 2.0 * free
    assert 1.5 * at_70 < at_35 < 1.9 * at_70  # half the power, and the voltage falls with the clock
    older = t4.replace(process_nm=28.0)
    assert seconds(older, DEFAULTS, "float32", size)[0] > 1.15 * at_70
    assert seconds(older, DEFAULTS, "float16", size)[0] == seconds(t4, DEFAULTS, "float16", size)[0]
    slow = t4.replace(power_w=10_000.0, sustained_clock=0.4)  # a clock that is stated holds it down too
    assert seconds(slow, DEFAULTS, "float32", size)[0] >= 2.0 * 8192**3 / t4.peak("float32") / 0.4


def test_larger_matrix_units_take_less_power_for_an_operation() -> None:
    h100, size = devices["h100-sim"], (8192, 8192, 8192)
    work = Works.of(Work(flops={"float16": 1e12}, dram_read_bytes=0, dram_write_bytes=0))
    assert h100.gpu is not None
    assert h100.gpu.matrix_macs_per_clock == 4 * FEW_MACS
    many, few = (float(power_s(h100, work, 0.0, {**DEFAULTS, "reuse": one})) for one in (0.5, 0.0))
    assert few == pytest.approx(2.0 * many, rel=0.01)  # less what a burst spares
    assert seconds(h100, {**DEFAULTS, "reuse": 0.0}, "float16", size) > seconds(h100, DEFAULTS, "float16", size)
    assert seconds(h100, {**DEFAULTS, "reuse": 0.0}, "float32", size) == seconds(h100, DEFAULTS, "float32", size)


def test_activations_are_quantised_where_rows_say_so() -> None:
    h100 = devices["h100-sim"]
    sizes = {
        "m": np.array([1, 1, 4096, 8192, 8192]),
        "n": np.full(5, 256),
        "k": np.array([256, 51200, 256, 256, 51200]),
    }
    told = {**sizes, "quantised": np.ones(5, dtype=np.int64)}
    added = gemm.seconds(h100, DEFAULTS, "float8_e4m3", told) - gemm.seconds(h100, DEFAULTS, "float8_e4m3", sizes)
    assert (added > h100.launch_s).all()  # a kernel of its own
    assert added[3] - h100.launch_s == pytest.approx(2 * (added[2] - h100.launch_s))  # its blocks take turns
    assert added[1] - added[0] == pytest.approx((51200 - 256) / 1024 * h100.dram.latency_s)  # one block a row
    assert (added >= 3 * sizes["m"] * sizes["k"] / h100.dram.bandwidth_bytes_per_s).all()
    assert list(gemm.gemm_seconds(h100, DEFAULTS, "float8_e4m3", told)) == list(
        gemm.gemm_seconds(h100, DEFAULTS, "float8_e4m3", sizes)
    )


def test_a_scale_for_each_block_is_multiplied_on_the_lanes() -> None:
    h100, size = devices["h100-sim"].replace(power_w=10_000.0), (8192, 8192, 8192)
    plain, scaled = (seconds(h100, DEFAULTS, f"float8_e4m3{way}", size)[0] for way in ("", ":block"))
    lanes = 2 * 8192**3 / gemm.SCALED / h100.peak("float32")
    assert 0.5 * lanes < scaled - plain < 1.1 * lanes


def test_units_that_take_whole_tiles_fill_their_shared_memory_with_buffers() -> None:
    h100, deep, shallow = devices["h100-sim"], {**DEFAULTS, "stages": 12.0}, {**DEFAULTS, "stages": 1.5}
    size = (64, 64, 16384)
    assert seconds(h100, deep, "float16", size) == seconds(h100, shallow, "float16", size)
    assert seconds(A100, deep, "float16", size) < seconds(A100, shallow, "float16", size)


def test_what_is_known_stays_where_it_is_in_a_fit_over_devices() -> None:
    spec, sizes = A100, {"m": np.arange(1, 13) * 512, "n": np.full(12, 4096), "k": np.full(12, 4096)}
    measured = gemm.gemm_seconds(spec, {**DEFAULTS, "kept": 0.1, "arithmetic": 0.7}, "float16", sizes)
    rows = Rows("a.csv", spec.name, "gemm", "fp16", "", spec, gemm, "float16", sizes, measured, np.arange(12))
    found = fitted_values(gemm, [rows], DEFAULTS, fixed=tuple(gemm.KNOWN["tensor"]))
    assert [found[name] for name in gemm.KNOWN["tensor"]] == [DEFAULTS[name] for name in gemm.KNOWN["tensor"]]
    assert list(found) == list(gemm.CONSTANTS)
    before, after = (np.abs(np.log(predicted(gemm, rows, one) / measured)).mean() for one in (DEFAULTS, found))
    assert after < 0.5 * before  # the others take up what they can


def test_what_feeds_lanes_is_issued_beside_them_where_a_scheduler_has_room() -> None:
    size, p4 = (8192, 8192, 8192), devices["p4-sim"].replace(power_w=10_000.0)
    two, one = (seconds(p4.replace(gpu={"dispatch": count}), DEFAULTS, "float32", size)[0] for count in (2, 1))
    h100 = devices["h100-sim"].replace(power_w=10_000.0)  # 128 lanes and four instructions a clock, as P4 would be
    assert 1.1 * two < one
    lanes = [2.0 * 8192**3 / spec.peak("float32") for spec in (p4, h100)]
    assert one / lanes[0] == pytest.approx(seconds(h100, DEFAULTS, "float32", size)[0] / lanes[1], rel=0.15)


def test_rows_of_odd_lengths_are_slow_where_threads_wait_for_each_element_and_not_in_batches() -> None:
    for name, slow in (("p100-pcie-16gb-sim", True), ("a100-pcie-40gb-sim", False)):
        for batch in (1, 64):
            even, odd = (
                seconds(devices[name], DEFAULTS, "float32", (1024, size, size, batch))[0] for size in (1024, 1023)
            )
            assert (odd > 1.05 * even) == (slow and batch == 1)


def test_no_batch_splits_its_reductions_on_lanes() -> None:
    assert gemm.chosen(A100, DEFAULTS, "float32", 64, 64, 65536).splits > 4
    assert gemm.chosen(A100, DEFAULTS, "float32", 64, 64, 65536, batch=2).splits == 1


def test_the_fastest_kernel_is_the_one_that_is_timed() -> None:
    kernel = gemm.chosen(A100, DEFAULTS, "bfloat16", 4096, 4096, 4096)
    assert kernel.seconds == seconds(A100, DEFAULTS, "bfloat16", (4096, 4096, 4096))[0]
    assert kernel.bound in ("fma", "power")
    assert set(kernel.breakdown) >= {"fma", "load", "latency", "store", "l2", "dram", "power", "launch", "split"}


def test_few_tiles_and_a_long_reduction_are_split() -> None:
    assert gemm.chosen(A100, DEFAULTS, "bfloat16", 64, 64, 65536).splits > 4
    assert gemm.chosen(A100, DEFAULTS, "bfloat16", 8192, 8192, 512).splits == 1


def test_a_reduction_that_is_scaled_by_block_is_not_split() -> None:
    size = (64, 64, 65536)
    whole, scaled = (gemm.chosen(devices["h100-sim"], DEFAULTS, f"float8_e4m3{way}", *size) for way in ("", ":block"))
    assert whole.splits > 1
    assert scaled.splits == 1


def test_weights_are_read_once_however_few_the_rows() -> None:
    few, more = seconds(A100, DEFAULTS, "bfloat16", (1, 12288, 12288), (16, 12288, 12288))
    read = 12288 * 12288 * 2 / A100.dram.bandwidth_bytes_per_s
    assert read <= few <= more <= 1.4 * read


@pytest.mark.parametrize(
    ("dtype", "kind"),
    [("float32", "plain"), ("float64", "plain"), ("tf32", "tensor"), ("bfloat16", "tensor"), ("int8", "bytes"),
     ("float16/float32", "plain"), ("float8_e4m3:block", "bytes")],
)  # fmt: skip
def test_tensor_cores_have_constants_of_their_own(dtype: str, kind: str) -> None:
    assert gemm.variant(devices["h100-sim"], dtype) == kind


def test_a_product_of_many_sizes_asks_the_model_a_few_times(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    real = gemm.gpu_times
    monkeypatch.setattr(gemm, "gpu_times", lambda *args: calls.append(1) or real(*args))
    sizes = {name: np.full(1100, 64) for name in gemm.SIZES}
    assert len(gemm.gemm_seconds(A100, DEFAULTS, "bfloat16", sizes)) == 1100
    assert len(calls) == 3


def test_the_registry_finds_it() -> None:
    assert OPERATORS["gemm", "gpu"] is gemm
    found, fitted = estimate(A100, "gemm", "bfloat16", {"m": 4096, "n": [4096], "k": [4096], "batch": [1]})
    assert found.shape == (1,)
    assert fitted.values.keys() == gemm.CONSTANTS.keys()


def test_a_dtype_that_a_device_lacks_is_refused() -> None:
    with pytest.raises(DeviceError, match="'t4-sim' has no peak for bfloat16"):
        seconds(devices["t4-sim"], DEFAULTS, "bfloat16", (64, 64, 64))


def test_constants_are_told_with_unit_and_bounds() -> None:
    assert len(gemm.CONSTANTS) <= 34
    for one in gemm.CONSTANTS.values():
        assert one.low < one.high
        assert one.unit
        assert one.doc
    with pytest.raises(DeviceError, match="outside of"):
        dataclasses.replace(gemm.CONSTANTS["wave"], default=2.0)


REAL = Path(__file__).with_name("gemm_rows.csv")


def real_rows() -> dict[str, list[dict[str, str]]]:
    lines = [line for line in REAL.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    found: dict[str, list[dict[str, str]]] = {}
    for row in csv.DictReader(lines):
        found.setdefault(row["device"], []).append(row)
    return found


@pytest.mark.parametrize(
    ("device", "percent"),
    [("a100-sim", 10), ("h100-sim", 8), ("b200-sim", 10), ("v100-pcie-32gb-sim", 8), ("t4-sim", 15), ("mi210-sim", 12)],
)
def test_real_devices_take_about_as_long(device: str, percent: float) -> None:
    rows = real_rows()[device]
    timing = timing_of(rows[0]["source"], devices[device].vendor)
    sizes = {name: np.array([int(row[name]) for row in rows]) for name in gemm.SIZES}
    sizes |= {name: np.full(len(rows), getattr(timing, name)) for name in ("warm", "launched")}
    measured = np.array([float(row["measured_us"]) for row in rows]) * 1e-6
    found, fitted = estimate(devices[device], "gemm", rows[0]["dtype"], sizes)
    error = np.abs(found / measured - 1).mean() * 100
    bound = np.abs(gemm.roofline(devices[device], rows[0]["dtype"], sizes) / measured - 1).mean() * 100
    assert fitted.tier == "calibrated"
    assert error <= percent
    assert error < bound / 2


def test_neighbours_whose_requests_meet_are_never_slower() -> None:
    sizes = {name: np.array([256, 1000, 4096]) for name in ("m", "n", "k")} | {"batch": np.ones(3, dtype=np.int64)}
    constants = {**{name: one.default for name, one in gemm.CONSTANTS.items()}, "unit_l2": 0.5, "l2": 0.5}
    alone = dataclasses.replace(A100, gpu=dataclasses.replace(gpu_unit(A100), coalesced_units=1))
    assert gpu_unit(A100).coalesced_units == 2
    assert (gemm.seconds(A100, constants, "bfloat16", sizes) < gemm.seconds(alone, constants, "bfloat16", sizes)).all()
    for dtype in ("float32", "int8"):  # on lanes, and of bytes, nothing shows it
        same = gemm.seconds(A100, constants, dtype, sizes), gemm.seconds(alone, constants, dtype, sizes)
        assert np.array_equal(*same)
