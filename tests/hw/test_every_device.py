"""Physics that no operator's time may break, on every device that ships, with the constants that people get.

`test_operators.py` draws constants from all of their range, on a few devices; this draws devices, dtypes and sizes, the
smallest and the largest among them, and takes what was fitted.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from flashsched.errors import DeviceError
from flashsched.hw import DeviceSpec, devices
from flashsched.hw.constants import constants_for
from flashsched.hw.operators import OPERATORS, estimate, section_of
from flashsched.hw.operators.asked import EXTENTS
from flashsched.hw.operators.collective import COLLECTIVES
from flashsched.hw.operators.dtypes import has_peak, peak_of, storage_bytes
from flashsched.hw.operators.elementwise import FUNCTIONS

SPECS = [devices[name] for name in devices if name != "cpu" and devices[name].kind != "asic"]
DTYPES = ("float64", "float32", "tf32", "float16", "bfloat16", "float8_e4m3", "int8", "int32", "float16/float32")
EDGES = (1, 2, 3, 7, 16, 17, 31, 32, 64, 127, 128, 129, 1000, 1009, 1024, 4096, 4099, 65_536, 1_000_000)
MOST = {
    "m": 10**6, "n": 10**5, "k": 10**5, "batch": 256, "seqlen": 10**5, "kv_len": 10**5, "heads": 128, "kv_heads": 128,
    "head_dim": 256, "cin": 4096, "cout": 4096, "hin": 1024, "win": 1024, "kh": 11, "kw": 11, "bytes": 10**10,
    "devices": 64,
}  # fmt: skip
CHOICES = {
    "function": range(len(FUNCTIONS)), "collective": range(len(COLLECTIVES)), "pass": range(3), "causal": range(2),
    "passes": range(3), "stride_h": range(1, 4), "stride_w": range(1, 4), "pad_h": range(4), "pad_w": range(4),
}  # fmt: skip

Question = tuple[str, DeviceSpec, str, dict[str, int]]


def size(most: int) -> st.SearchStrategy[int]:
    """Mostly an edge, or any up to *most*, the small ones no rarer than the large."""
    edges = st.sampled_from([edge for edge in EDGES if edge <= most])
    return edges | st.floats(0, np.log(most)).map(lambda log: int(np.exp(log)))


@st.composite
def questions(draw: st.DrawFn, ops: tuple[str, ...] = ()) -> Question:
    """An operation on a device that has a model of it and the dtype, and sizes that there may be."""
    spec = draw(st.sampled_from(SPECS))
    op = draw(st.sampled_from([op for op, kind in OPERATORS if kind == spec.kind and (not ops or op in ops)]))
    dtype = draw(st.sampled_from([dtype for dtype in DTYPES if has_peak(spec, dtype)]))
    sizes = {name: draw(st.sampled_from(CHOICES[name]) if name in CHOICES else size(MOST[name]))
             for name in OPERATORS[op, spec.kind].SIZES}  # fmt: skip
    if op == "attention":
        sizes["kv_len"] = max(sizes["kv_len"], sizes["seqlen"])
    if op == "conv2d":
        sizes |= {image: max(sizes[image], sizes[kernel]) for image, kernel in (("hin", "kh"), ("win", "kw"))}
    event(f"{op} on a {spec.kind}")
    return op, spec, dtype, sizes


@functools.cache
def constants(op: str, device: str, dtype: str) -> Mapping[str, float]:
    spec = devices[device]
    model = OPERATORS[op, spec.kind]
    return constants_for(spec, section_of(model, spec, dtype), model.CONSTANTS).values


def seconds(op: str, spec: DeviceSpec, dtype: str, sizes: Mapping[str, int], of: DeviceSpec | None = None) -> float:
    """By constants alone, those fitted to the device *of*."""
    columns = {name: np.array([value]) for name, value in sizes.items()}
    values = constants(op, (of or spec).name, dtype)
    return float(OPERATORS[op, spec.kind].seconds(spec, values, dtype, columns)[0])


def least(op: str, spec: DeviceSpec, dtype: str, sizes: Mapping[str, int]) -> float:
    """A bound worked out without the models: peak arithmetic, and what main memory or a link must move."""
    s, width, bandwidth = sizes, storage_bytes(dtype), spec.dram.bandwidth_bytes_per_s
    if op == "gemm":
        batch = s.get("batch", 1)
        moved = batch * (s["m"] * s["k"] + s["k"] * s["n"] + s["m"] * s["n"]) * width
        held = spec.level("l2").size_bytes if spec.kind == "gpu" else 0
        return max(2 * batch * s["m"] * s["n"] * s["k"] / peak_of(spec, dtype), (moved - held) / bandwidth)
    if op == "attention":
        pairs = s["seqlen"] * s["kv_len"] - (s["seqlen"] * (s["seqlen"] - 1) // 2 if s["causal"] else 0)
        moved = 2 * s["seqlen"] * s["heads"] + 2 * s["kv_len"] * s["kv_heads"]
        flops = 4 * s["batch"] * s["heads"] * pairs * s["head_dim"]
        return max(flops / peak_of(spec, dtype), s["batch"] * s["head_dim"] * moved * width / bandwidth)
    if op == "elementwise":
        return s["m"] * s["n"] * width * (FUNCTIONS[s["function"]].reads + 1) / bandwidth
    if op in ("softmax", "row_wise"):
        written = s["n"] if op == "softmax" or s["passes"] else 1
        return s["m"] * (s["n"] + written) * width / bandwidth
    if op == "host_copy":
        return s["bytes"] / (spec.host_link_bytes_per_s or np.inf)
    if op == "collective":
        link = spec.interconnect_bytes_per_s or spec.host_link_bytes_per_s or bandwidth
        return s["bytes"] * (s["devices"] - 1) / s["devices"] * (2 if s["collective"] == 0 else 1) / link
    high, wide = (
        (s[image] + 2 * s[pad] - s[kernel]) // s[stride] + 1
        for image, pad, kernel, stride in (("hin", "pad_h", "kh", "stride_h"), ("win", "pad_w", "kw", "stride_w"))
    )
    return s["batch"] * s["cout"] * high * wide * width / bandwidth  # of an image's gradient as many bytes are read


@settings(deadline=None)
@given(questions())
def test_no_time_beats_the_device(question: Question) -> None:
    op, spec, dtype, sizes = question
    (time,), fitted = estimate(spec, op, dtype, sizes)
    assert np.isfinite(time)
    assert time > 0
    assert time >= least(op, spec, dtype, sizes) * (1 - 1e-9)
    assert fitted.tier in ("calibrated", "family", "specs")


LESSER: dict[str, Any] = {
    "half of the units": lambda spec: {"units": spec.units // 2} if spec.units > 1 else {},
    "a slower clock": lambda spec: {"clock_hz": spec.clock_hz * 0.6},
    "a slower main memory": lambda spec: {
        "memory": {spec.dram.name: {"bandwidth_bytes_per_s": spec.dram.bandwidth_bytes_per_s * 0.5}}
    },
    "a longer way to main memory": lambda spec: {"memory": {spec.dram.name: {"latency_s": spec.dram.latency_s * 2}}},
    "less power": lambda spec: {"power_w": spec.power_w * 0.6} if spec.power_w and not spec.idle_power_w else {},
    "a slower start": lambda spec: {"launch_s": spec.launch_s * 2 + 1e-6},
    "slower links": lambda spec: {
        name: getattr(spec, name) / 2
        for name in ("host_link_bytes_per_s", "interconnect_bytes_per_s")
        if getattr(spec, name)
    },
}


@functools.cache
def lesser_than(device: str, how: str) -> DeviceSpec | None:
    """None where there is none: half of a CPU's cores may not be dealt to its memories."""
    try:
        return devices[device].replace(**LESSER[how](devices[device]))
    except DeviceError:
        return None


@pytest.mark.parametrize("how", LESSER)
@settings(deadline=None, max_examples=60)
@given(question=questions())
@example(("gemm", devices["tpu-v5e"].replace(units=2), "bfloat16", {"m": 439, "n": 2, "k": 358, "batch": 256}))
def test_a_lesser_device_is_never_faster(how: str, question: Question) -> None:
    op, spec, dtype, sizes = question
    if how == "half of the units" and op == "softmax":
        return  # more units work on more rows at a time, and the cache holds fewer of them until they are read again
    lesser = lesser_than(spec.name, how)
    if lesser is not None:
        before = seconds(op, spec, dtype, sizes)
        assert seconds(op, lesser, dtype, sizes, of=spec) >= before * (1 - 1e-6)


GROWS = {
    "gemm": ("m", "n", "k", "batch"), "elementwise": ("m", "n"), "softmax": ("m",), "row_wise": ("m", "n"),
    "attention": ("batch", "heads", "seqlen", "kv_len", "head_dim"), "conv2d": ("batch", "cin", "cout", "hin", "win"),
    "collective": ("bytes", "devices"), "host_copy": ("bytes",),
}  # fmt: skip


def of_a_kind(op: str, sizes: Mapping[str, int]) -> object:
    """What a library's kernels are chosen by, whatever the size: a batch, rows that no wide load divides (products, and
    LayerNorm, which is two kernels then), and a prompt of one token, which has no kernel of its own, as a new token
    after others has."""
    if op == "row_wise":
        return sizes["passes"] > 1 and sizes["n"] % 4 > 0
    if op == "attention":
        return sizes["seqlen"] == sizes["kv_len"] == 1
    return (sizes.get("batch", 1) > 1, sizes["n"] % 32 > 0 and sizes["k"] % 32 > 0) if op == "gemm" else None


@settings(deadline=None)
@given(question=questions(), times=st.integers(2, 4), data=st.data())
@example(
    ("conv2d", devices["apple-m1-ultra-cpu"], "float16",
     {"batch": 256, "cin": 1, "hin": 256, "win": 256, "cout": 7, "kh": 1, "kw": 1, "stride_h": 1, "stride_w": 1,
      "pad_h": 1, "pad_w": 0, "pass": 2}), 2, None,
)  # fmt: skip
def test_more_to_do_is_never_faster(question: Question, times: int, data: st.DataObject | None) -> None:
    op, spec, dtype, sizes = question
    grown = "cin" if data is None else data.draw(st.sampled_from([one for one in GROWS[op] if one in sizes]))
    more = sizes | {grown: sizes[grown] * times}
    if grown == "seqlen":
        more["kv_len"] = max(more["kv_len"], more["seqlen"])
    if of_a_kind(op, more) != of_a_kind(op, sizes):
        return
    # A product of few tiles draws what they share sooner where more of them ask for it.
    share = 0.6 if op == "gemm" and spec.kind == "gpu" else 0.99
    assert seconds(op, spec, dtype, more) >= share * seconds(op, spec, dtype, sizes), grown


@settings(deadline=None)
@given(questions(ops=("gemm", "conv2d")))
def test_what_is_learned_beyond_constants_stays_in_its_bounds(question: Question) -> None:
    op, spec, dtype, sizes = question
    (told,), fitted = estimate(spec, op, dtype, sizes)
    alone = seconds(op, spec, dtype, sizes)
    if fitted.residual is None:
        assert told == pytest.approx(alone)
    else:
        assert alone / 1.51 <= told or told == pytest.approx(least(op, spec, dtype, sizes))
        assert told <= alone * 1.51 * 7 / 6


def test_every_size_that_counts_work_is_drawn() -> None:
    used = {name for model in OPERATORS.values() for name in model.SIZES}
    assert used <= set(MOST) | set(CHOICES)
    assert set(EXTENTS) <= set(MOST)
