"""Arrays, TPUs and accelerators at the edge: SCALE-Sim's cycles, figures of real devices, and what must always hold."""

from __future__ import annotations

import csv
import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashsched.errors import DeviceError, Infeasible
from flashsched.hw import DeviceSpec, Work, devices, predict, roofline_s
from flashsched.hw.systolic import folded_cycles, streamed_cycles

TPUS = [devices[name] for name in ("tpu-v3", "tpu-v4", "tpu-v5e", "tpu-v6e", "tpu-v7", "gaudi2")]
EDGE = [devices[name] for name in ("edge-tpu", "edge-tpu-usb", "ane-m1", "ane-m4")]
V5E = devices["tpu-v5e"]

with (Path(__file__).parent / "data" / "scalesim_cycles.csv").open(encoding="utf-8") as file:
    SCALESIM = list(csv.DictReader(line for line in file if not line.startswith("#")))


@pytest.mark.parametrize("flow", ["ws", "os", "is"])
def test_cycles_are_scalesim_s(flow: str) -> None:
    rows = [row for row in SCALESIM if row["dataflow"] == flow]
    assert len(rows) == 28
    for row in rows:
        m, n, k, high, wide = (int(row[name]) for name in ("m", "n", "k", "rows", "columns"))
        assert folded_cycles(m, n, k, high, wide, flow) == int(row["cycles"]), row


SIDES = st.integers(1, 600)


@given(m=SIDES, n=SIDES, k=SIDES, rows=st.sampled_from([1, 4, 128]), columns=st.sampled_from([1, 8, 128]))
def test_no_fold_order_beats_one_multiply_add_a_cycle(m: int, n: int, k: int, rows: int, columns: int) -> None:
    fastest = m * n * k / (rows * columns)
    for flow in ("ws", "os", "is"):
        assert folded_cycles(m, n, k, rows, columns, flow) >= fastest
    streamed = streamed_cycles(m, n, k, rows, columns)
    assert fastest <= streamed
    assert streamed <= min(folded_cycles(m, n, k, rows, columns, flow) for flow in ("ws", "is")) + rows


@given(m=SIDES, n=SIDES, k=SIDES, arrays=st.integers(1, 8), grown=st.sampled_from("mnk"))
def test_larger_products_take_longer_and_more_arrays_do_not(m: int, n: int, k: int, arrays: int, grown: str) -> None:
    sizes = {"m": m, "n": n, "k": k}
    cycles = streamed_cycles(**sizes, rows=128, columns=128, arrays=arrays)
    assert streamed_cycles(**sizes | {grown: sizes[grown] + 1}, rows=128, columns=128, arrays=arrays) >= cycles
    assert streamed_cycles(**sizes, rows=128, columns=128, arrays=arrays + 1) <= cycles


def test_many_sizes_at_once() -> None:
    sizes = np.array([1, 100, 128, 4096])
    whole = streamed_cycles(sizes, 256, 512, 128, 128, arrays=4)
    assert whole.tolist() == [streamed_cycles(int(m), 256, 512, 128, 128, arrays=4) for m in sizes]


def test_an_unknown_dataflow_is_refused() -> None:
    with pytest.raises(DeviceError, match="no dataflow 'rs'"):
        folded_cycles(1, 1, 1, 1, 1, "rs")


def works() -> st.SearchStrategy[Work]:
    """Anything that each of these devices can run; a product's arithmetic is that of its tiles."""
    count = st.floats(0, 1e10)
    side = st.integers(1, 2048)

    def made(product: tuple[int, int, int], products: int, **rest: Any) -> Work:
        flops = {"bfloat16": 2.0 * math.prod(product) * products}
        return Work(flops=flops, product=product, products=products, **rest)

    return st.builds(
        made,
        product=st.tuples(side, side, side),
        products=st.integers(0, 1000),
        dram_read_bytes=count,
        dram_write_bytes=count,
        dram_bytes=st.none() | st.floats(0, 1e11),
        vector_ops=count,
        weight_bytes=st.floats(0, 1e8),
        steps=st.floats(1, 1000),
        stages=st.integers(1, 2),
        shared_bytes_per_block=st.integers(0, 2**20),
        parallel_items=st.integers(1, 50),
        level_bytes=st.fixed_dictionaries({}, optional={"vmem": count}),
    )


def on(spec: DeviceSpec, work: Work) -> Work:
    """*work* as *spec* would be given it: in a dtype and a memory of its own."""
    dtype = "bfloat16" if spec.kind == "tpu" else next(iter(spec.peaks))
    near = {spec.memory[0].name: sum(work.level_bytes.values())}
    weights = min(work.weight_bytes, work.dram_read_bytes)
    return dataclasses.replace(work, flops={dtype: work.flops["bfloat16"]}, level_bytes=near, weight_bytes=weights)


@settings(deadline=None)
@given(spec=st.sampled_from([*TPUS, *EDGE]), work=works())
def test_no_prediction_beats_its_device(spec: DeviceSpec, work: Work) -> None:
    work = on(spec, work)
    said = predict(spec, work)
    bytes_ = work.compulsory_bytes if spec.kind == "tpu" else max(0.0, work.compulsory_bytes - work.weight_bytes)
    assert said.time_s >= roofline_s(spec, work.flops, bytes_) * (1 - 1e-12)
    assert said.time_s >= spec.launch_s
    assert said.time_s >= 0.999 * max(seconds for name, seconds in said.breakdown.items() if name != "launch")
    assert 0 <= said.utilization <= 1
    assert 0 < said.occupancy <= 1
    assert said.bound in said.breakdown
    assert said.energy_j is None or 0 <= said.energy_j <= said.time_s * (spec.power_w or 0) * 1.0001


MORE: dict[str, Callable[[Work], Any]] = {
    "dram_read_bytes": lambda w: w.dram_read_bytes * 2 + 1e6,
    "dram_write_bytes": lambda w: w.dram_write_bytes * 2 + 1e6,
    "dram_bytes": lambda w: (w.compulsory_bytes if w.dram_bytes is None else w.dram_bytes) * 2 + 1e6,
    "vector_ops": lambda w: w.vector_ops * 2 + 1e6,
    "products": lambda w: w.products + 1,
    "steps": lambda w: w.steps * 2,
    "level_bytes": lambda w: {name: 2 * bytes_ for name, bytes_ in w.level_bytes.items()},
}


@settings(deadline=None)
@pytest.mark.parametrize("field", MORE)
@given(spec=st.sampled_from([*TPUS, *EDGE]), work=works())
def test_asking_for_more_is_never_faster(field: str, spec: DeviceSpec, work: Work) -> None:
    work = on(spec, work)
    if field == "steps" and work.stages == 2:
        return  # with two buffers more rounds begin sooner, and that is what they are for
    more = dataclasses.replace(work, **{field: MORE[field](work)})
    assert predict(spec, more).time_s >= predict(spec, work).time_s * (1 - 1e-9)


@settings(deadline=None)
@given(spec=st.sampled_from([spec for spec in [*TPUS, *EDGE] if spec.units > 1]), work=works())
def test_fewer_units_are_never_faster(spec: DeviceSpec, work: Work) -> None:
    work = on(spec, work)
    half = spec.replace(units=spec.units // 2)
    assert predict(half, work).time_s >= predict(spec, work).time_s * (1 - 1e-9)


@settings(deadline=None)
@given(spec=st.sampled_from(TPUS), work=works())
def test_a_second_buffer_is_never_slower(spec: DeviceSpec, work: Work) -> None:
    work = dataclasses.replace(on(spec, work), steps=max(2.0, work.steps), products=max(1.0, work.products))
    one, two = (dataclasses.replace(work, stages=stages) for stages in (1, 2))
    assert predict(spec, two).time_s <= predict(spec, one).time_s * (1 + 1e-9)


def tiled(size: int, m: int, n: int, k: int) -> Work:
    """A bfloat16 product of square matrices in rounds of m x n x k."""
    rounds = math.ceil(size / m) * math.ceil(size / n) * math.ceil(size / k)
    return Work(
        flops={"bfloat16": 2.0 * m * n * k * rounds},
        useful_flops={"bfloat16": 2.0 * size**3},
        dram_read_bytes=4.0 * size**2,
        dram_write_bytes=2.0 * size**2,
        dram_bytes=rounds * (m + n) * k * 2.0 + 2.0 * size**2,
        product=(m, n, k),
        products=rounds,
        steps=rounds,
        stages=2,
        shared_bytes_per_block=2 * (m + n) * k * 2 + 4 * m * n,
        vector_ops=float(rounds * m * n),
    )


def test_small_tiles_cost_what_pallas_measures() -> None:
    # JAX's documentation of Pallas: 4096 in tiles of 128 takes 11.77 ms, in tiles of 512 x 1024 x 1024 0.89 ms, of
    # which its 1024 (0.13 ms, of 0.01 ms of work) says that about 0.11 ms are the call
    assert predict(V5E, tiled(4096, 128, 128, 128)).time_s == pytest.approx(11.77e-3, rel=0.1)
    assert predict(V5E, tiled(4096, 512, 1024, 1024)).time_s == pytest.approx(0.89e-3 - 0.11e-3, rel=0.08)
    assert predict(V5E, tiled(8192, 128, 128, 128)).time_s == pytest.approx(95.0e-3, rel=0.1)


def test_tiles_are_ranked() -> None:
    sides = [(128, 128, 128), (256, 256, 256), (512, 512, 512), (512, 1024, 1024)]
    times = [predict(V5E, tiled(4096, *side)).time_s for side in sides]
    assert times == sorted(times, reverse=True)


def test_tiles_that_do_not_fit_are_infeasible() -> None:
    with pytest.raises(Infeasible, match="bytes of vmem are asked for, and a core has 16777216"):
        predict(devices["tpu-v4"], tiled(4096, 2048, 2048, 2048))
    with pytest.raises(Infeasible, match="bytes of sram are asked for, and the chip has 8388608"):
        predict(devices["edge-tpu"], on(devices["edge-tpu"], tiled(4096, 2048, 2048, 2048)))


def test_float32_goes_through_the_arrays_six_times() -> None:
    narrow = tiled(4096, 512, 512, 512)
    wide = dataclasses.replace(narrow, flops={"float32": 2 * 4096.0**3})
    spec = devices["tpu-v4"]
    ratio = predict(spec, wide).breakdown["arrays"] / predict(spec, narrow).breakdown["arrays"]
    assert ratio == pytest.approx(6, rel=0.01)


def network(weights: float) -> Work:
    """Layers of int8 with *weights* bytes of parameters in all, for images of 224 x 224 pixels."""
    depth = round(weights / 1024)
    return Work(
        flops={"int8": 2.0 * 196 * 1024 * depth},
        dram_read_bytes=3.0 * 224 * 224 + weights,
        dram_write_bytes=1000.0,
        weight_bytes=weights,
        product=(196, 1024, depth),
        products=1,
    )


def test_parameters_stay_where_they_fit() -> None:
    spec = devices["edge-tpu"]
    fits, does_not = predict(spec, network(6e6)), predict(spec, network(8e6))
    assert fits.bound == "arrays"
    assert does_not.bound == "dram"
    assert does_not.time_s > 3 * fits.time_s
    assert does_not.bytes["dram"] == pytest.approx(8e6 + 3 * 224 * 224 + 1000)


def test_convolutions_on_the_neural_engine() -> None:
    # freedomtan/measure_ane_capacity: twenty 3x3 convolutions of 128 channels on 256 x 256 pixels in fp16 take 35.7 ms
    # on an M1 and 20.9 ms on an M4 Pro
    pixels, depth = 256 * 256, 128 * 9
    work = Work(
        flops={"float16": 20 * 2.0 * pixels * 128 * depth},
        dram_read_bytes=20 * 2.0 * 128 * pixels,
        dram_write_bytes=20 * 2.0 * 128 * pixels,
        weight_bytes=20 * 2.0 * 128 * depth,
        product=(pixels, 128, depth),
        products=20,
    )
    assert predict(devices["ane-m1"], work).time_s == pytest.approx(35.7e-3, rel=0.15)
    assert predict(devices["ane-m4"], work).time_s == pytest.approx(20.9e-3, rel=0.15)


@pytest.mark.parametrize("name", ["tpu-v4", "edge-tpu"])
def test_the_wrong_device_is_refused(name: str) -> None:
    from flashsched.hw.predict import MODELS

    with pytest.raises(DeviceError, match=r"model needs kind '(tpu|asic)'"):
        MODELS[devices[name].kind](devices["a100"], Work(flops={}, dram_read_bytes=0, dram_write_bytes=0))


def test_a_product_without_sizes_is_refused() -> None:
    with pytest.raises(DeviceError, match=r"product is \(0, 1, 1\); its sizes must be at least 1"):
        Work(flops={}, dram_read_bytes=0, dram_write_bytes=0, products=1, product=(0, 1, 1))
