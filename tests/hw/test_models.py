"""The device models: the properties that any prediction must have, and figures that real devices reach."""

from __future__ import annotations

import dataclasses
import math

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flashsched.errors import DeviceError, Infeasible
from flashsched.hw import DeviceSpec, Prediction, Work, devices, predict, roofline_s
from flashsched.hw.gpu import resident_blocks

GPUS = [devices[name] for name in ("a100-sim", "v100-sim", "h100-sim", "t4-sim", "apple-m1-sim")]
A100 = devices["a100-sim"]
XEON = devices["cpu-xeon"]


def tiled(n: int, bm: int, bn: int, bk: int, tm: int, tn: int, *, stages: int = 1, vector: int = 4) -> Work:
    """A float32 product of n x n matrices: bm x bn per block and bk deep through shared memory, tm x tn per thread."""
    blocks, steps, threads = math.ceil(n / bm) * math.ceil(n / bn), math.ceil(n / bk), (bm // tm) * (bn // tn)
    tile = (bm + bn) * bk * 4
    per_op = (tm + tn) / vector / (tm * tn) + 2 * tile / 4 / threads / vector / (tm * tn * bk)
    return Work(
        flops={"float32": 2.0 * blocks * bm * bn * steps * bk},
        useful_flops={"float32": 2.0 * n**3},
        dram_read_bytes=8.0 * n * n,
        dram_write_bytes=4.0 * n * n,
        blocks=blocks,
        threads_per_block=threads,
        l2_read_bytes=float(blocks * steps * tile),
        shared_bytes_per_block=tile * stages,
        shared_store_bytes=float(tile * steps),
        shared_load_bytes=float(threads * (tm + tn) * 4 * steps * bk),
        steps=steps,
        barriers=2.0 * steps,
        stages=stages,
        registers_per_thread=min(255, tm * tn + 2 * (tm + tn) + 30),
        accumulators=tm * tn,
        overhead_per_op=per_op,
        bytes_in_flight=max(4.0, min(64.0, tile / threads)),
    )


def untiled(n: int) -> Work:
    """The same product, one output for each thread, operands from global memory."""
    return Work(
        flops={"float32": 2.0 * n**3},
        dram_read_bytes=8.0 * n * n,
        dram_write_bytes=4.0 * n * n,
        blocks=(n // 32) ** 2,
        threads_per_block=1024,
        l2_read_bytes=n**3 / 32 * (128 + 32),
        global_lane_bytes=8.0 * n**3,
        steps=n / 4,
        overhead_per_op=2.0,
        unrolled=False,
    )


def works() -> st.SearchStrategy[Work]:
    """Any kernel that every GPU here can run."""
    count = st.floats(0, 1e12)
    return st.builds(
        Work,
        flops=st.fixed_dictionaries({"float32": count}, optional={"float16": count}),
        fma_share=st.floats(0, 1),
        special_ops=st.floats(0, 1e9),
        dram_read_bytes=st.floats(0, 1e10),
        dram_write_bytes=st.floats(0, 1e10),
        coalescing=st.floats(0.05, 1),
        blocks=st.integers(1, 100_000),
        threads_per_block=st.integers(1, 1024),
        l2_read_bytes=st.none() | st.floats(0, 1e12),
        shared_bytes_per_block=st.integers(0, 32768),
        shared_load_bytes=st.floats(0, 1e8),
        shared_store_bytes=st.floats(0, 1e8),
        steps=st.floats(1, 1e4),
        barriers=st.floats(0, 1e4),
        guarded=st.floats(0, 1e6),
        stages=st.integers(1, 3),
        registers_per_thread=st.integers(1, 64),
        bytes_in_flight=st.floats(1, 256),
        bank_conflict=st.floats(1, 32),
        accumulators=st.floats(1, 64),
        overhead_per_op=st.floats(0, 8),
        unrolled=st.booleans(),
        vector_lanes=st.sampled_from([1, 4, 8, 16]),
        threads=st.integers(1, 64),
        parallel_items=st.floats(1, 1e5),
        level_bytes=st.fixed_dictionaries({}, optional={"l1": st.floats(0, 1e12), "l2": st.floats(0, 1e12)}),
    )


def with_only_float32(spec: DeviceSpec, work: Work) -> Work:
    return dataclasses.replace(work, flops={d: count for d, count in work.flops.items() if d in spec.peaks})


def no_faster(worse: Prediction, better: Prediction) -> None:
    assert worse.time_s >= better.time_s * (1 - 1e-9)


@settings(deadline=None)  # a shared machine may stall
@given(spec=st.sampled_from([*GPUS, XEON]), work=works())
def test_no_prediction_beats_the_roofline(spec: DeviceSpec, work: Work) -> None:
    work = with_only_float32(spec, dataclasses.replace(work, level_bytes=work.level_bytes if spec.cpu else {}))
    said = predict(spec, work)
    assert said.time_s >= said.roofline_s == roofline_s(spec, work.flops, work.compulsory_bytes)
    assert said.time_s >= spec.launch_s or spec.cpu
    assert math.isfinite(said.time_s)
    assert 0 <= said.utilization <= 1
    assert 0 < said.occupancy <= 1
    assert 0 <= said.share_of_roofline <= 1
    assert said.bound in said.breakdown
    assert said.time_s >= 0.999 * max(seconds for name, seconds in said.breakdown.items() if name != "launch")
    assert said.energy_j is None or 0 <= said.energy_j <= said.time_s * (spec.power_w or 0) * 1.0001


WORSE_ON_A_GPU = {
    "dram_read_bytes": lambda w: w.dram_read_bytes * 2 + 1e6,
    "dram_write_bytes": lambda w: w.dram_write_bytes * 2 + 1e6,
    "l2_read_bytes": lambda w: (w.dram_read_bytes if w.l2_read_bytes is None else w.l2_read_bytes) * 2 + 1e6,
    "shared_load_bytes": lambda w: w.shared_load_bytes * 2 + 1e3,
    "special_ops": lambda w: w.special_ops * 2 + 1e3,
    "coalescing": lambda w: w.coalescing / 2,
    "bank_conflict": lambda w: w.bank_conflict * 2,
    "steps": lambda w: w.steps * 2,
    "barriers": lambda w: w.barriers * 2 + 1,
    "guarded": lambda w: w.guarded * 2 + 1,
    "overhead_per_op": lambda w: w.overhead_per_op + 1,
    "unrolled": lambda w: False,
    "accumulators": lambda w: max(1.0, w.accumulators / 2),
    "fma_share": lambda w: w.fma_share / 2,
    "bytes_in_flight": lambda w: w.bytes_in_flight / 2,
    "registers_per_thread": lambda w: min(64, w.registers_per_thread * 2),
    "shared_bytes_per_block": lambda w: min(32768, w.shared_bytes_per_block * 2 + 512),
}


@pytest.mark.parametrize("field", WORSE_ON_A_GPU)
@settings(deadline=None)  # a shared machine may stall
@given(spec=st.sampled_from(GPUS), work=works())
def test_asking_for_more_is_never_faster_on_a_gpu(field: str, spec: DeviceSpec, work: Work) -> None:
    work = with_only_float32(spec, work)
    no_faster(predict(spec, dataclasses.replace(work, **{field: WORSE_ON_A_GPU[field](work)})), predict(spec, work))


@settings(deadline=None)  # a shared machine may stall
@given(spec=st.sampled_from([A100, XEON]), work=works(), share=st.floats(0.02, 1))
@example(  # two blocks on a unit overlap better than one, and take no less than one does
    spec=A100,
    work=Work(flops={"float32": 1e6}, dram_read_bytes=1, dram_write_bytes=0, blocks=55, threads_per_block=1),
    share=0.5,
)
def test_fewer_units_are_never_faster(spec: DeviceSpec, work: Work, share: float) -> None:
    work = with_only_float32(spec, dataclasses.replace(work, level_bytes=work.level_bytes if spec.cpu else {}))
    fewer = spec.replace(units=max(1, round(spec.units * share)))
    no_faster(predict(fewer, work), predict(spec, work))


WORSE_ON_A_CPU = {
    "dram_read_bytes": lambda w: w.dram_read_bytes * 2 + 1e6,
    "level_bytes": lambda w: {"l1": w.level_bytes.get("l1", 0) * 2 + 1e6, "l2": w.level_bytes.get("l2", 0)},
    "coalescing": lambda w: w.coalescing / 2,
    "vector_lanes": lambda w: max(1, w.vector_lanes / 2),
    "threads": lambda w: max(2, w.threads // 2) if w.threads > 1 else 1,
    "accumulators": lambda w: max(1.0, w.accumulators / 2),
    "overhead_per_op": lambda w: w.overhead_per_op + 1,
    "unrolled": lambda w: False,
    "special_ops": lambda w: w.special_ops * 2,
}


@pytest.mark.parametrize("field", WORSE_ON_A_CPU)
@settings(deadline=None)  # a shared machine may stall
@given(work=works())
def test_asking_for_more_is_never_faster_on_a_cpu(field: str, work: Work) -> None:
    work = with_only_float32(XEON, work)
    if field == "threads":  # whole turns, so that the last one is as full for any number of threads
        work = dataclasses.replace(work, threads=1 << (work.threads.bit_length() - 1), parallel_items=64.0 * 3)
    no_faster(predict(XEON, dataclasses.replace(work, **{field: WORSE_ON_A_CPU[field](work)})), predict(XEON, work))


@pytest.mark.parametrize(("depth", "stages"), [(8, 1), (16, 1), (32, 1), (8, 2), (16, 2)])
def test_a_good_tile_is_near_the_roofline(depth: int, stages: int) -> None:
    said = predict(A100, tiled(4096, 128, 128, depth, 8, 8, stages=stages))
    assert 1.0 <= said.time_s / said.roofline_s <= 1.3  # cuBLAS: 90 to 95 %; S. Boehm: 78 to 94 % of it
    assert said.bound == "fma"
    assert 0.75 < said.utilization <= 1


def test_few_warps_overlap_less() -> None:
    """Tiles of 8 x 8 sums with a warp a scheduler, or several of them: all else is alike, and either hides latency."""
    tile = tiled(4096, 64, 64, 16, 8, 8, stages=2)
    alone, beside = (predict(A100, dataclasses.replace(tile, shared_bytes_per_block=n)) for n in (80 << 10, 8 << 10))
    assert alone.occupancy < beside.occupancy / 3
    assert alone.time_s > 1.1 * beside.time_s


def test_the_ladder_of_products_is_climbed_in_order() -> None:
    """S. Boehm, "How to Optimize a CUDA Matmul Kernel": untiled, shared memory, 1-D and 2-D tiles per thread."""
    ladder = [
        untiled(4096),
        tiled(4096, 32, 32, 32, 1, 1, vector=1),
        tiled(4096, 64, 64, 8, 8, 1, vector=1),
        tiled(4096, 128, 128, 8, 8, 8),
    ]
    times = [predict(A100, work).time_s for work in ladder]
    assert times == sorted(times, reverse=True)
    assert 7 <= times[0] / times[-1] <= 25  # really 10 to 20
    assert predict(A100, ladder[0]).bound == "l2"
    assert predict(A100, ladder[1]).bound == "shared"


def test_loading_ahead_helps_where_a_unit_holds_one_block() -> None:
    one, two = (predict(A100, tiled(4096, 256, 128, 8, 16, 8, stages=stages)) for stages in (1, 2))
    assert one.occupancy == two.occupancy == 0.125
    assert two.time_s < one.time_s


def test_a_unit_with_one_warp_uses_one_of_its_schedulers() -> None:
    """However many sums that warp keeps: on an H100 such a product of 512 took 144 us, where four warps took 15."""
    one = predict(A100, tiled(256, 32, 64, 64, 8, 8, stages=2))  # a block for each of 32 units
    four = predict(A100, tiled(256, 32, 64, 64, 4, 4, stages=2))
    assert one.breakdown["fma"] == pytest.approx(4 * four.breakdown["fma"], rel=0.01)
    assert one.time_s > 1.5 * four.time_s


def test_a_part_filled_last_wave_costs() -> None:
    work = dataclasses.replace(tiled(4096, 128, 128, 16, 8, 8), blocks=108 * 2)
    more = dataclasses.replace(work, blocks=108 * 2 + 1, flops={"float32": work.flops["float32"] * 217 / 216})
    assert predict(A100, more).time_s > 1.3 * predict(A100, work).time_s


def test_a_stream_takes_what_dram_sustains() -> None:
    n = 1e9
    add = Work(
        flops={"float32": n}, fma_share=0, dram_read_bytes=8 * n, dram_write_bytes=4 * n,
        blocks=int(n / 512), threads_per_block=128, accumulators=4, overhead_per_op=3, bytes_in_flight=32,
    )  # fmt: skip
    said = predict(A100, add)
    assert said.bound == "dram"
    assert 0.80 <= said.share_of_roofline <= 0.87


def test_a_small_kernel_is_launch_bound() -> None:
    said = predict(A100, Work(flops={"float32": 1e2}, dram_read_bytes=4e2, dram_write_bytes=4e2, threads_per_block=128))
    assert said.bound == "launch"
    assert said.time_s < 1e-5


def test_blocks_are_begun_one_a_clock_whatever_they_do() -> None:
    """A transpose with blocks of 16 threads took 1273 us on an H100, and 289 us with larger ones."""
    many = Work(flops={}, dram_read_bytes=134e6, dram_write_bytes=134e6, blocks=2097152, threads_per_block=16)
    said = predict(devices["h100-sim"], many)
    assert said.bound == "blocks"
    assert said.time_s == pytest.approx(1273e-6, rel=0.05)
    assert predict(devices["h100-sim"].replace(units=66), many).breakdown["blocks"] == said.breakdown["blocks"]


def test_l2_that_holds_all_data_needs_dram_once() -> None:
    small, large = (predict(A100, tiled(n, 64, 64, 16, 4, 4)) for n in (1024, 16384))
    assert small.bytes["dram"] == 12 * 1024**2
    assert large.bytes["dram"] > 1.2 * 12 * 16384**2
    assert large.bytes["l2"] > large.bytes["dram"]


def test_tensor_cores_are_asked_for_by_name() -> None:
    plain = tiled(4096, 128, 128, 32, 8, 8, stages=2)
    halves = dataclasses.replace(plain, flops={"float16": plain.flops["float32"]}, useful_flops=None)
    assert predict(A100, halves).time_s < predict(A100, plain).time_s / 1.5
    with pytest.raises(DeviceError, match="'t4-sim' has no peak for bfloat16"):
        predict(devices["t4-sim"], dataclasses.replace(plain, flops={"bfloat16": 1e9}, useful_flops=None))


@pytest.mark.parametrize(
    ("asked", "blocks", "limit"),
    [
        ({"threads_per_block": 256, "registers_per_thread": 128}, 2, "registers"),
        ({"threads_per_block": 256, "registers_per_thread": 32}, 8, "threads"),
        ({"threads_per_block": 32, "registers_per_thread": 32}, 32, "blocks"),
        ({"threads_per_block": 128, "registers_per_thread": 32, "shared_bytes_per_block": 40 * 1024}, 4, "shared"),
        ({"threads_per_block": 64, "registers_per_thread": 255}, 4, "registers"),
    ],
)
def test_occupancy_is_the_calculator_s(asked: dict[str, int], blocks: int, limit: str) -> None:
    if asked["registers_per_thread"] == 255:  # 2 warps x 256 x 32 = 16384 registers
        assert resident_blocks(A100, Work(flops={}, dram_read_bytes=0, dram_write_bytes=0, **asked)) == (4, limit)
    assert resident_blocks(A100, Work(flops={}, dram_read_bytes=0, dram_write_bytes=0, **asked)) == (blocks, limit)


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"threads_per_block": 2048}, "2048 threads per block are asked for, and the device has at most 1024"),
        ({"shared_bytes_per_block": 200_000}, "200000 bytes of shared memory per block .* at most 166912"),
        ({"registers_per_thread": 256}, "256 registers per thread .* at most 255"),
        ({"registers_per_thread": 255, "threads_per_block": 1024}, "262144 registers per block .* at most 65536"),
    ],
)
def test_a_block_that_does_not_fit_is_infeasible(asked: dict[str, int], says: str) -> None:
    with pytest.raises(Infeasible, match=says):
        predict(A100, Work(flops={"float32": 1.0}, dram_read_bytes=4, dram_write_bytes=4, **asked))


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("blocks", 0, "blocks is 0; it must be at least 1"),
        ("accumulators", 0.5, "at least 1"),
        ("dram_read_bytes", -1.0, "dram_read_bytes is -1.0; it must be 0 or more"),
        ("steps", math.nan, "at least 1"),
        ("special_ops", math.inf, "0 or more"),
        ("coalescing", 0.0, "coalescing is 0.0; it must be above 0, at most 1"),
        ("fma_share", 2.0, "from 0 to 1"),
        ("bytes_in_flight", 0.0, "must be above 0"),
        ("flops", {"float32": -1.0}, r"flops\['float32'\] is -1.0"),
        ("level_bytes", {"l1": math.nan}, r"level_bytes\['l1'\] is nan"),
    ],
)
def test_work_that_means_nothing_is_refused(field: str, value: object, says: str) -> None:
    with pytest.raises(DeviceError, match=says):
        dataclasses.replace(untiled(64), **{field: value})  # type: ignore[arg-type]


def test_the_roofline_takes_the_longest() -> None:
    assert roofline_s(A100, {"float32": 19.5e12, "int8": 624e12}, 2039e9) == 1.0
    assert roofline_s(A100, {}, 0) == 0.0
    with pytest.raises(DeviceError, match="dram_bytes is -1"):
        roofline_s(A100, {}, -1)
    with pytest.raises(DeviceError, match=r"flops\['float32'\] is nan"):
        roofline_s(A100, {"float32": math.nan}, 0)


def micro_kernel(n: int, cores: int) -> Work:
    """A packed CPU product around a 14 x 32 micro-kernel."""
    return Work(
        flops={"float32": 2.0 * n**3},
        dram_read_bytes=8.0 * n * n,
        dram_write_bytes=4.0 * n * n,
        dram_bytes=4.0 * n**3 / 256,
        threads=cores,
        parallel_items=1000,
        vector_lanes=16,
        accumulators=28,
        overhead_per_op=0.2,
        level_bytes={"l1": 4.0 * n**3 * (14 + 32) / (14 * 32), "l2": 4.0 * n**3 / 112, "l3": 4.0 * n**3 / 250},
    )


def test_a_packed_product_is_near_the_peak_of_a_xeon() -> None:
    said = predict(XEON, micro_kernel(9000, 12))
    assert said.bound == "fma"
    assert 0.7 < said.utilization < 1
    scalar = dataclasses.replace(micro_kernel(9000, 12), vector_lanes=1, accumulators=1)
    assert predict(XEON, scalar).time_s > 30 * said.time_s
    assert predict(XEON, micro_kernel(9000, 1)).time_s > 10 * said.time_s


def test_a_nest_has_no_way_to_a_matrix_unit() -> None:
    work = dataclasses.replace(micro_kernel(4096, 56), level_bytes={})
    for dtype, speedup in (("float32", 1), ("bfloat16", 2), ("int8", 4)):  # dot products, and not AMX
        spec = devices["sapphire-rapids"]
        narrow = dataclasses.replace(work, flops={dtype: 2.0 * 4096**3})
        ratio = predict(spec, work).breakdown["fma"] / predict(spec, narrow).breakdown["fma"]
        assert ratio == pytest.approx(speedup, rel=0.01)
    neon = predict(devices["apple-m1-cpu"], dataclasses.replace(micro_kernel(2048, 4), level_bytes={}, vector_lanes=4))
    assert 2.0 * 2048**3 / neon.time_s <= 0.42e12


def test_one_socket_has_half_of_the_memories() -> None:
    spec = devices["xeon-gold-6126-2s"]
    stream = Work(flops={}, dram_read_bytes=1e10, dram_write_bytes=0, parallel_items=1e6, threads=12)
    both = dataclasses.replace(stream, threads=24)
    assert predict(spec, stream).breakdown["dram"] == pytest.approx(2 * predict(spec, both).breakdown["dram"], rel=0.01)
    assert predict(spec, stream).time_s == pytest.approx(predict(XEON, stream).time_s, rel=0.01)


def test_a_cpu_says_which_level_it_lacks() -> None:
    with pytest.raises(DeviceError, match="level_bytes has 'l4', which device 'cpu-xeon-sim' lacks"):
        predict(XEON, dataclasses.replace(micro_kernel(64, 1), level_bytes={"l4": 1.0}))


def test_the_wrong_model_is_refused() -> None:
    from flashsched.hw.cpu import predict_cpu
    from flashsched.hw.gpu import predict_gpu

    with pytest.raises(DeviceError, match="the GPU model needs kind 'gpu'"):
        predict_gpu(XEON, untiled(64))
    with pytest.raises(DeviceError, match="the CPU model needs kind 'cpu'"):
        predict_cpu(A100, untiled(64))
