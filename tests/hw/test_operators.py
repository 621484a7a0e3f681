"""Operator models: never below the roofline, never faster with more to do or less to do it with."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashsched.errors import DeviceError
from flashsched.hw import DeviceSpec, devices
from flashsched.hw.constants import constants_for
from flashsched.hw.operators import (
    OPERATORS,
    OperatorModel,
    attention,
    collective,
    conv2d,
    conv2d_cpu,
    elementwise,
    estimate,
    host_copy,
    operator_model,
    row_wise,
    section_of,
    softmax,
)

Question = tuple[Any, DeviceSpec, dict[str, float], str, dict[str, int]]

MODELS: list[Any] = [attention, collective, conv2d, conv2d_cpu, elementwise, host_copy, row_wise, softmax]
DEVICES = {"gpu": ("a100-sim", "v100-sim", "h100-sim", "mi210-sim"), "cpu": ("xeon-phi-7250-sim", "epyc-7763-sim")}

RANGES: dict[str, tuple[int, int]] = {
    "m": (1, 50_000), "n": (1, 20_000), "function": (0, len(elementwise.FUNCTIONS) - 1), "passes": (0, 2),
    "batch": (1, 64), "seqlen": (1, 8192), "kv_len": (1, 8192), "heads": (1, 96), "kv_heads": (1, 96),
    "head_dim": (16, 256), "causal": (0, 1), "bytes": (1, 10**9), "devices": (2, 8), "collective": (0, 3),
    "cin": (1, 2048), "cout": (1, 2048), "hin": (8, 256), "win": (8, 256), "kh": (1, 7), "kw": (1, 7),
    "stride_h": (1, 2), "stride_w": (1, 2), "pad_h": (0, 3), "pad_w": (0, 3), "pass": (0, 2),
}  # fmt: skip
GROWS = {
    attention: ("batch", "heads"), collective: ("bytes",), conv2d: ("batch",), conv2d_cpu: ("batch", "cin", "cout"),
    elementwise: ("m", "n"), host_copy: ("bytes",), row_wise: ("m",), softmax: ("m",),
}  # fmt: skip
"""Sizes that mean more of the same work: none of them may make it faster."""

FLAGS = {"warm": (0, 1), "launched": (0, 3), "rowwise": (0, 1)}


@st.composite
def questions(draw: st.DrawFn) -> Question:
    """A model, a device, constants anywhere in their ranges, a dtype and sizes."""
    model = draw(st.sampled_from(MODELS))
    constants = {name: one.low + draw(st.floats(0, 1)) * (one.high - one.low) for name, one in model.CONSTANTS.items()}
    sizes = {name: draw(st.integers(*RANGES[name])) for name in model.SIZES}
    sizes |= {name: draw(st.integers(*ends)) for name, ends in FLAGS.items()}
    if model is attention:
        sizes["kv_len"] = max(sizes["kv_len"], sizes["seqlen"])
    dtype = draw(st.sampled_from(["float32", "float16"])) if "gpu" in model.KINDS else "float32"
    spec = devices[draw(st.sampled_from(DEVICES[model.KINDS[0]]))]
    return model, spec, constants, dtype, sizes


def time_of(model: Any, spec: DeviceSpec, constants: dict[str, float], dtype: str, sizes: dict[str, int]) -> float:
    columns = {name: np.array([value], dtype=np.int64) for name, value in sizes.items()}
    return float(model.seconds(spec, constants, dtype, columns)[0])


@settings(max_examples=50, deadline=None)
@given(questions())
def test_no_prediction_beats_the_roofline(
    question: Question,
) -> None:
    model, spec, constants, dtype, sizes = question
    columns = {name: np.array([value], dtype=np.int64) for name, value in sizes.items()}
    time = model.seconds(spec, constants, dtype, columns)[0]
    assert np.isfinite(time)
    assert time >= model.roofline(spec, dtype, columns)[0] * (1 - 1e-9)
    assert time > 0


@settings(max_examples=50, deadline=None)
@given(questions(), st.integers(2, 5))
def test_more_of_the_same_work_is_never_faster(question: Question, times: int) -> None:
    model, spec, constants, dtype, sizes = question
    for name in GROWS[model]:
        more = sizes | {name: sizes[name] * times}
        before = time_of(model, spec, constants, dtype, sizes)
        assert time_of(model, spec, constants, dtype, more) >= before * (1 - 1e-6), name


@settings(max_examples=50, deadline=None)
@given(questions(), st.sampled_from([0.25, 0.5, 0.9]))
def test_a_slower_memory_is_never_faster(question: Question, share: float) -> None:
    model, spec, constants, dtype, sizes = question
    slow = spec.replace(memory={spec.dram.name: {"bandwidth_bytes_per_s": spec.dram.bandwidth_bytes_per_s * share}})
    before = time_of(model, spec, constants, dtype, sizes)
    assert time_of(model, slow, constants, dtype, sizes) >= before * (1 - 1e-6)


@settings(max_examples=50, deadline=None)
@given(questions())
def test_half_of_the_units_are_never_faster(
    question: Question,
) -> None:
    model, spec, constants, dtype, sizes = question
    fewer = spec.replace(units=spec.units // 2)
    before = time_of(model, spec, constants, dtype, sizes)
    assert time_of(model, fewer, constants, dtype, sizes) >= before * (1 - 1e-6)


def test_many_rows_are_predicted_as_each_alone() -> None:
    spec, values = devices["a100-sim"], {name: one.default for name, one in softmax.CONSTANTS.items()}
    m, n = np.array([10, 4096, 100_000]), np.array([64, 1500, 9000])
    together = softmax.seconds(spec, values, "float32", {"m": m, "n": n})
    alone = [time_of(softmax, spec, values, "float32", {"m": int(a), "n": int(b)}) for a, b in zip(m, n, strict=True)]
    np.testing.assert_allclose(together, alone)


@pytest.mark.parametrize(("op", "kind"), OPERATORS, ids="-".join)
def test_each_row_may_have_constants_of_its_own(op: str, kind: str) -> None:
    draw, model, rows = np.random.default_rng(5), OPERATORS[op, kind], 8
    spec = devices[{"gpu": "a100-sim", "tpu": "tpu-v4-sim", "cpu": "apple-m1-cpu-sim"}[kind]]
    ranges = {**RANGES, "k": (1, 20_000), "launched": (0, 3)}
    sizes = {name: draw.integers(*ranges[name], rows, endpoint=True) for name in (*model.SIZES, "launched")}
    values = {name: draw.uniform(one.low, one.high, rows) for name, one in model.CONSTANTS.items()}
    dtype = "bfloat16" if kind == "tpu" else "float32"
    alone = [
        model.seconds(spec, {name: float(value[row]) for name, value in values.items()}, dtype,
                      {name: column[[row]] for name, column in sizes.items()})[0]
        for row in range(rows)
    ]  # fmt: skip
    together: Any = values
    assert model.seconds(spec, together, dtype, sizes) == pytest.approx(alone)


@pytest.mark.parametrize("model", OPERATORS.values(), ids=lambda model: model.NAME)
def test_every_constant_says_what_it_is(model: OperatorModel) -> None:
    for name, one in model.CONSTANTS.items():
        assert one.unit, f"{model.NAME}.{name} has no unit"
        assert len(one.doc) > 10, f"{model.NAME}.{name} is not explained"


def test_an_estimate_says_how_far_it_is_trusted() -> None:
    times, fitted = estimate(devices["a100-sim"], "softmax", "float32", {"m": [4096, 8192], "n": [1024, 1024]})
    assert times.shape == (2,)
    assert 0 < times[0] < times[1] < 1e-3
    assert fitted.tier in fitted.band


def test_what_a_device_was_never_timed_in_streams_and_starts_as_what_is_akin_to_it() -> None:
    t4, sizes = devices["t4-sim"], {"m": [1_000_000], "n": [1024], "passes": [2]}
    times, fitted = estimate(t4, "row_wise", "float32", sizes)
    softmax_own = constants_for(t4, "softmax", softmax.CONSTANTS)
    assert softmax_own.tier == "calibrated"
    assert fitted.tier == "specs"
    assert fitted.origin.endswith("stream and launches: the device's own softmax")
    assert fitted.values["host_us"] == softmax_own.values["host_us"]
    memory = 8 * 1_000_000 * 1024 / t4.dram.drawn_by(np.inf)
    assert times[0] == pytest.approx(memory / softmax_own.values["stream"], rel=0.02)
    assert "own" not in estimate(t4, "softmax", "float32", sizes)[1].origin


def test_devices_crowd_where_they_have_no_links_of_their_own() -> None:
    constants = {name: one.default for name, one in collective.CONSTANTS.items()}
    sizes = {"bytes": np.full(3, 2**28), "devices": np.array([2, 4, 8]), "collective": np.full(3, 1)}
    for name, crowding in (("l40s-sim", 1.0), ("l40s-sim", 2.0), ("a100-sim", 2.0)):
        values = {**constants, "crowding": crowding}
        two, four, eight = collective.seconds(devices[name], values, "float16", sizes)
        exponent = crowding if name == "l40s-sim" else 0.0
        assert four / two == pytest.approx(1.5 * 2**exponent, rel=0.02)  # 3/4 of the bytes cross a link, not 1/2
        assert eight / two == pytest.approx(1.75 * 4**exponent, rel=0.02)


def defaults_of(model: Any) -> dict[str, float]:
    return {name: one.default for name, one in model.CONSTANTS.items()}


@pytest.mark.parametrize("model", [attention, elementwise, row_wise, softmax], ids=lambda model: model.NAME)
def test_what_a_joint_fit_is_told_are_constants_within_their_ranges(model: Any) -> None:
    for variant in getattr(model, "KNOWN", {}).values():
        for name, value in variant.items():
            assert value is None or model.CONSTANTS[name].low <= value <= model.CONSTANTS[name].high, name


@pytest.mark.parametrize(
    ("model", "dtype", "sizes"),
    [
        (elementwise, "float32", {"m": 10**8, "n": 1, "function": 0}),
        (softmax, "float32", {"m": 10**6, "n": 512}),
        (row_wise, "float32", {"m": 10**6, "n": 512, "passes": 2}),
    ],
    ids=["elementwise", "softmax", "row_wise"],
)
def test_a_stream_goes_at_the_sustained_rate_of_the_memory(model: Any, dtype: str, sizes: dict[str, int]) -> None:
    spec, constants = devices["a100-sim"], defaults_of(model)
    slow = spec.replace(memory={"dram": {"sustained": spec.dram.sustained / 4}})
    before = time_of(model, spec, constants, dtype, sizes)
    assert time_of(model, slow, constants, dtype, sizes) == pytest.approx(4 * before, rel=0.05)


def test_a_block_that_has_a_row_to_itself_takes_whole_turns() -> None:
    def rows_of(length: int, rows: int = 10_000) -> float:
        function = next(i for i, one in enumerate(elementwise.FUNCTIONS) if one.name == "silu_mul")
        sizes = {"m": rows, "n": length, "function": function, "rowwise": 1}
        return time_of(elementwise, devices["h100-sim"], defaults_of(elementwise), "float16", sizes)

    assert rows_of(1025) == pytest.approx(rows_of(2048), rel=0.05)
    assert rows_of(2048) == pytest.approx(2 * rows_of(1024), rel=0.1)
    assert rows_of(2048, rows=1) == pytest.approx(rows_of(2048, rows=132), rel=0.1)  # one unit, or all of them


def test_what_amds_runtime_takes_around_a_kernel_is_told_apart() -> None:
    sizes = {"m": 8, "n": 8, "function": 0, "launched": 1}
    constants = {**defaults_of(elementwise), "host_us": 40.0, "gap_us": 1.0}
    for name, ratio in (("mi210-sim", 0.5), ("a100-sim", 1.0)):
        time = time_of(elementwise, devices[name], {**constants, "hip": 0.5}, "float32", sizes)
        assert time == pytest.approx(40e-6 * ratio, rel=0.01)


@given(st.integers(1025, 20_000), st.sampled_from([4, 8]), st.sampled_from([128, 256, 512]))
def test_softmax_counts_the_steps_of_each_row(length: int, wide: int, block: int) -> None:
    def steps_at(offset: int) -> int:
        """Those of a row that begins so many elements beyond a vector's boundary."""
        left, steps = length, 0
        if offset:  # single elements, after which the block is at a boundary
            left, steps = max(left - block, 0), 1
        while left >= wide * block:
            left, steps = left - wide * block, steps + 1
        while left > 0:
            left, steps = left - block, steps + 1
        return steps

    expected = np.mean([steps_at(row * length % wide) for row in range(wide)])
    assert softmax._steps(np.array([float(length)]), np.array([float(block)]), wide)[0] == pytest.approx(expected)


def test_long_rows_of_softmax_wait_for_instructions_where_a_unit_starts_few() -> None:
    spec, sizes = devices["p100-sim"], {"m": 32_768, "n": 2453}
    assert spec.gpu is not None
    wider = spec.replace(gpu={"schedulers": 2 * spec.gpu.schedulers})
    constants = defaults_of(softmax)
    assert time_of(softmax, spec, constants, "float32", sizes) > 1.3 * time_of(
        softmax, wider, constants, "float32", sizes
    )


def test_a_softmax_of_single_operations_takes_as_long_as_its_arrays() -> None:
    constants, spec = defaults_of(softmax), devices["apple-m1-max-sim"]
    sizes = {"m": 1_000_000, "n": 64}
    fused, apart = (time_of(softmax, spec, constants, "float32", {**sizes, "arrays": each}) for each in (0, 8))
    assert apart == pytest.approx(8 * 4 * 64_000_000 / spec.dram.drawn_by(np.inf), rel=0.05)
    assert apart > 3.5 * fused


@pytest.mark.parametrize(("model", "sizes"), [(softmax, {"m": 8, "n": 8}), (row_wise, {"m": 8, "n": 8, "passes": 2})])
def test_a_framework_s_call_may_take_longer_than_an_elementwise_one(model: Any, sizes: dict[str, int]) -> None:
    constants = {**defaults_of(model), "host_us": 100.0, "sync_us": 100.0, "gap_us": 0.0, "call": 1.5}
    launched, synchronised = (
        time_of(model, devices["a100-sim"], constants, "float32", {**sizes, "launched": how}) for how in (1, 3)
    )
    assert launched == pytest.approx(150e-6, rel=0.01)
    assert synchronised == pytest.approx(100e-6, rel=0.05)


def test_layernorm_reads_rows_twice_that_no_vector_divides() -> None:
    constants, spec = defaults_of(row_wise), devices["a100-sim"]

    def rows_of(length: int, rows: int) -> float:
        return time_of(row_wise, spec, constants, "float32", {"m": rows, "n": length, "passes": 2})

    assert rows_of(8191, 50_000) > 1.45 * rows_of(8192, 50_000)
    assert rows_of(8191, 8) > rows_of(8192, 8) + spec.launch_s  # a kernel more


def test_a_sum_of_few_long_rows_is_cut_into_pieces() -> None:
    constants, spec = defaults_of(row_wise), devices["a100-sim"]
    one = time_of(row_wise, spec, constants, "float32", {"m": 1, "n": 10**7, "passes": 0})
    many = time_of(row_wise, spec, constants, "float32", {"m": 10**4, "n": 10**3, "passes": 0})
    assert one < 2 * many


PROMPT = {"batch": 16, "seqlen": 4096, "kv_len": 4096, "heads": 32, "kv_heads": 8, "head_dim": 128, "causal": 1}


def test_attention_slows_down_at_the_power_limit() -> None:
    spec, constants = devices["l40s-sim"], defaults_of(attention)
    assert spec.power_w is not None
    times = [
        time_of(attention, spec.replace(power_w=watts), constants, "bfloat16", PROMPT)
        for watts in (spec.power_w / 2, spec.power_w, 100 * spec.power_w)
    ]
    assert times[0] > 1.4 * times[1] > 1.4 * times[2]
    token = {**PROMPT, "seqlen": 1, "causal": 0}  # bound by main memory
    unlimited = time_of(attention, spec.replace(power_w=1e6), constants, "bfloat16", token)
    assert time_of(attention, spec, constants, "bfloat16", token) == pytest.approx(unlimited, rel=0.1)


def test_a_new_token_reads_the_cache_once() -> None:
    spec, constants = devices["h100-sim"], defaults_of(attention)
    token = {**PROMPT, "batch": 64, "seqlen": 1}
    cache = 64 * 4096 * 8 * 128 * 2 * 2
    time = time_of(attention, spec, constants, "bfloat16", token)
    assert cache / spec.dram.drawn_by(np.inf) < time < 1.5 * cache / spec.dram.drawn_by(np.inf)
    alone = {**token, "batch": 1, "kv_len": 65_536}  # its keys are shared out to the units
    assert time_of(attention, spec, constants, "bfloat16", alone) < 1.2e-4
    assert time_of(attention, spec, constants, "bfloat16", {**token, "causal": 0}) == time


def test_on_a_cpu_nothing_is_akin_to_sums() -> None:
    _, fitted = estimate(devices["apple-m1-cpu-sim"], "row_wise", "float32", {"m": [8], "n": [8], "passes": [0]})
    assert "own softmax" not in fitted.origin


def test_what_cannot_be_estimated_is_refused_with_what_could() -> None:
    with pytest.raises(DeviceError, match=r"no model of 'sofmax' on a100-sim(.|\n)*did you mean softmax"):
        operator_model("sofmax", devices["a100-sim"])
    with pytest.raises(DeviceError, match="softmax needs the sizes m, n; n is missing"):
        estimate(devices["a100-sim"], "softmax", "float32", {"m": [1]})


def test_constants_of_another_kind_of_device_have_a_section_of_their_own() -> None:
    assert section_of(conv2d, devices["t4-sim"], "float16") == "conv2d.tensor"
    assert section_of(elementwise, devices["cpu-xeon-sim"], "float32") == "elementwise.cpu"


@pytest.mark.parametrize("device", ["a10-sim", "l40s-sim", "h100-sim", "rx-6900-xt-sim"])
@pytest.mark.parametrize("causal", [0, 1])
def test_a_second_query_never_saves_time(device: str, causal: int) -> None:
    """A single one has ways of its own: heads in one tile, and keys in parts, which are taken where they are faster."""
    model = operator_model("attention", devices[device])
    constants = constants_for(devices[device], "attention", model.CONSTANTS, own={}).values
    shapes = [(batch, heads, kv_heads, dim, keys) for batch in (1, 26) for heads, kv_heads in ((1, 2), (8, 8), (128, 2))
              for dim in (1, 8, 128) for keys in (4, 74, 154, 4096)]  # fmt: skip
    sizes = dict(zip(("batch", "heads", "kv_heads", "head_dim", "kv_len"), np.array(shapes).T, strict=True))
    alike = {**sizes, "causal": np.full(len(shapes), causal)}
    times = [
        model.seconds(devices[device], constants, "float16", {**alike, "seqlen": np.full(len(shapes), queries)})
        for queries in (1, 2, 4)
    ]
    assert all((more >= 0.999 * less).all() for less, more in pairwise(times))
