from __future__ import annotations

import math
import random
import re

import pytest

import flashsched as fs
from flashsched.errors import DeviceError, TuneError
from flashsched.hw import devices
from flashsched.hw.constants import Fitted
from flashsched.hw.operators import estimate
from flashsched.testing import programs
from flashsched.tune.comparison.compare import COLUMNS, compare_devices, pareto
from flashsched.tune.comparison.estimates import estimate_schedule, estimates, total
from flashsched.tune.comparison.picture import comparison_page, comparison_text, plot_comparison
from flashsched.tune.comparison.replayed import compare_log, kendall
from flashsched.tune.logs.log import TuningLog
from flashsched.tune.logs.record import Record

RELU = fs.Task("relu", (512, 512))
THREE = ["a100-sim", "t4-sim", "cpu-xeon-sim"]


# -- estimates -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("device", ["a100-sim", "cpu-xeon-sim", "tpu-v4-sim"])
@pytest.mark.parametrize(
    "task",
    [
        fs.Task("matmul", (256, 256, 256), "bfloat16"),
        fs.Task("relu", (256, 256), "bfloat16"),
        fs.Task("softmax", (256, 256), "bfloat16"),
        fs.Task("conv2d", (1, 8, 16, 16, 8, 3, 1, 1), "bfloat16"),
        fs.Task("attention", (1, 2, 64, 32), "bfloat16"),
    ],
    ids=lambda task: task.op,
)
def test_no_estimate_beats_the_roofline(task, device):
    (found,) = estimates([task], devices[device])
    if math.isnan(found.time_s):
        assert found.note
        return
    assert found.time_s >= found.roofline_s > 0
    assert 0 <= found.utilization <= 1
    assert found.how
    assert found.bound


def test_tasks_judged_together_are_judged_as_alone():
    tasks = [fs.Task("relu", (n, 512)) for n in (64, 512, 4096)] + [
        fs.Task("add", (64, 64)),
        fs.Task("softmax", (8, 8)),
    ]
    spec = devices["a100-sim"]
    assert repr(estimates(tasks, spec)) == repr([estimates([task], spec)[0] for task in tasks])


def test_more_work_takes_longer():
    spec = devices["a100-sim"]
    times = [one.time_s for one in estimates([fs.Task("relu", (n, 4096)) for n in (64, 1024, 16384)], spec)]
    assert times == sorted(times)


def test_what_a_device_cannot_do_is_said():
    (found,) = estimates([fs.Task("matmul", (64, 64, 64), "float64")], devices["edge-tpu-sim"])
    assert math.isnan(found.time_s)
    assert "float64" in found.note


def test_a_graph_of_ones_own_goes_by_its_template_or_by_the_roofline():
    task = fs.Task.from_te(programs.matmul(32, 32, 32), name="mine")
    cpu, gpu = (estimates([task], devices[name])[0] for name in ("cpu-xeon-sim", "a100-sim"))
    assert cpu.how == "template"
    assert gpu.how in ("roofline", "template")


@pytest.mark.parametrize(
    ("task", "device", "op", "sizes"),
    [
        (
            fs.Task("conv2d", (4, 64, 28, 30, 96, 3, 2, 1)),
            "t4-sim",
            "conv2d",
            {"batch": 4, "cin": 64, "hin": 28, "win": 30, "cout": 96, "kh": 3, "kw": 3, "stride_h": 2, "stride_w": 2,
             "pad_h": 1, "pad_w": 1, "pass": 0},
        ),
        (fs.Task("layernorm", (512, 768)), "t4-sim", "row_wise", {"m": 512, "n": 768, "passes": 2}),
        (fs.Task("rmsnorm", (512, 768)), "a100-sim", "row_wise", {"m": 512, "n": 768, "passes": 1}),
        (
            fs.Task("conv2d", (4, 64, 28, 28, 96, 1, 1, 0)),
            "xeon-phi-7250-sim",
            "conv2d",
            {"batch": 4, "cin": 64, "hin": 28, "win": 28, "cout": 96, "kh": 1, "kw": 1, "stride_h": 1, "stride_w": 1,
             "pad_h": 0, "pad_w": 0, "pass": 0},
        ),
    ],
    ids=lambda value: getattr(value, "op", None),
)  # fmt: skip
def test_an_operator_goes_by_its_own_model(task, device, op, sizes):
    (found,) = estimates([task], devices[device])
    expected, fitted = estimate(devices[device], op, "float32", sizes)
    assert (found.how, found.time_s, found.tier) == ("library", expected[0], fitted.tier)


def test_a_model_that_no_measurement_stands_behind_is_not_asked(monkeypatch):
    task, xeon = fs.Task("layernorm", (512, 768)), devices["cpu-xeon-sim"]
    (checked,) = estimates([task], xeon)  # by defaults that sums on other CPUs were held against
    assert checked.how == "library"
    monkeypatch.setattr("flashsched.tune.comparison.estimates.constants_for", lambda *_: Fitted({}))
    (found,) = estimates([task], xeon)
    assert found.how == "template"


@pytest.mark.parametrize("options", [{"groups": 8}, {"dilation": 2}])
def test_a_convolution_that_no_model_knows_is_the_product_it_makes(options):
    task = fs.Task("conv2d", (1, 64, 28, 28, 64, 3, 1, 1), **options)
    (found,) = estimates([task], devices["t4-sim"])
    assert found.how == "library, as a product"


def test_the_way_over_the_link():
    (gpu,), (cpu,) = (estimates([RELU], devices[name]) for name in ("a100-sim", "cpu-xeon-sim"))
    assert gpu.transfer_s == pytest.approx(RELU.bytes / devices["a100-sim"].host_link_bytes_per_s)
    assert cpu.transfer_s == 0.0


def test_a_sum_weighs_its_parts():
    spec = devices["a100-sim"]
    one, other = estimates([RELU, fs.Task("relu", (4096, 4096))], spec)
    both = total([(one, 3.0), (other, 1.0)])
    assert both.time_s == pytest.approx(3 * one.time_s + other.time_s)
    assert both.bound == other.bound
    assert min(one.utilization, other.utilization) <= both.utilization <= max(one.utilization, other.utilization)


# -- one device ------------------------------------------------------------------------------------------------------


def test_a_task_takes_what_the_library_takes():
    found = fs.simulate(RELU, "a100-sim")
    (row,) = fs.compare_devices(RELU, ["a100-sim"]).to_dict("records")
    assert found.how == row["how"] == "library"
    assert (found.time_s, found.tier) == (row["time_s"], row["tier"])
    assert found.error_pct == row["error_pct"] > 0
    assert f"±{found.error_pct:.0f} %" in found.trust
    assert found.bound in found.breakdown
    assert math.isnan(found.occupancy)


def test_a_task_is_searched_where_no_model_answers_or_trials_are_given(monkeypatch):
    monkeypatch.setattr("flashsched.tune.comparison.simulate.TRIALS", 2)
    assert fs.simulate(fs.Task("transpose", (8, 8)), "cpu-xeon-sim").how == "best of 2 schedules"
    assert fs.simulate(RELU, "cpu-xeon-sim", trials=1).how == "one schedule of ours"
    assert fs.simulate(RELU.replay(fs.Trace()).schedule, "cpu-xeon-sim").how == "schedule"


def test_what_the_library_cannot_do_is_refused():
    with pytest.raises(DeviceError, match="no peak for float64"):
        fs.simulate(fs.Task("matmul", (64, 64, 64), "float64"), "tpu-v4-sim")


# -- devices ---------------------------------------------------------------------------------------------------------


def test_one_row_a_device_the_fastest_first():
    df = fs.compare_devices(RELU, [*THREE, "edge-tpu-sim"])
    assert tuple(df.columns) == COLUMNS
    assert set(df["device"]) == {*THREE, "edge-tpu-sim"}
    known = df["time_s"].dropna()
    assert list(known) == sorted(known)
    assert df["pareto"].any()


def test_several_workloads_are_summed_or_told_each():
    two = fs.Task("add", (512, 512))
    summed = compare_devices([RELU, two, two], THREE).set_index("device")
    counted = compare_devices({RELU: 1, two: 2}, THREE).set_index("device")
    apart = compare_devices([RELU, two], THREE, each=True)
    assert len(apart) == 6
    for device in THREE:
        assert summed.loc[device, "time_s"] == pytest.approx(counted.loc[device, "time_s"])
        mine = apart[apart["device"] == device].set_index("workload")["time_s"]
        whole = mine["relu 512,512 float32"] + 2 * mine["add 512,512 float32"]
        assert summed.loc[device, "time_s"] == pytest.approx(whole)


def test_a_schedule_and_a_result_are_taken_as_they_stand():
    s = RELU.replay(fs.Trace()).schedule
    plain = compare_devices(s, ["cpu-xeon-sim"]).iloc[0]
    result = fs.tune(RELU, device="cpu-xeon-sim", trials=1)
    tuned = compare_devices(result, ["cpu-xeon-sim"]).iloc[0]
    assert plain["how"] == tuned["how"] == "schedule"
    assert tuned["time_s"] == pytest.approx(result.best.median_s)
    assert plain["time_s"] > tuned["time_s"]
    assert plain["gflops"] == pytest.approx(RELU.flops / plain["time_s"] / 1e9)


def test_a_schedule_that_a_device_cannot_hold():
    s = RELU.replay(fs.Trace()).schedule
    s[s.cache_read(s.inputs[0], "shared")].compute_at(s[s.outputs[0]], s[s.outputs[0]].split("i", nparts=1)[0])
    found = estimate_schedule(s, devices["a100-sim"], 1.0)
    assert math.isnan(found.time_s)
    assert found.note


def test_prices_make_costs():
    df = compare_devices(RELU, THREE, prices={"a100-sim": 3.6}).set_index("device")
    assert df.loc["a100-sim", "cost"] == pytest.approx(df.loc["a100-sim", "time_s"] / 1000)
    assert math.isnan(df.loc["t4-sim", "cost"])
    with pytest.raises(TuneError, match="a price is given for h100-sim"):
        compare_devices(RELU, THREE, prices={"h100-sim": 1.0})


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: fs.simulate("matmul", "a100-sim"), r"a tuning result is needed, got 'matmul'[^$]*fs\.Task\("),
        (lambda: compare_devices(["relu"], THREE), "a tuning result is needed, got 'relu'"),
        (lambda: compare_devices(None, THREE), "a tuning result is needed, got a NoneType"),
        (lambda: compare_devices({RELU: 0}, THREE), r"relu \S+ float32 is said to run 0 times"),
        (lambda: compare_devices(RELU, THREE, prices={THREE[0]: -1.0}), "cost -1.0; a price is a number from 0 up"),
        (lambda: compare_devices(RELU, THREE, prices={"a1000": 1.0}), "not compared[^$]*compared are " + THREE[0]),
        (lambda: compare_devices({RELU: "often"}, THREE), "is said to run often times"),
        (lambda: compare_devices(RELU, THREE, prices={THREE[0]: "1.6"}), "cost '1.6'; a price is a number"),
        (lambda: compare_devices(RELU, THREE, prices=1.6), "prices are given by device, got a float"),
        (lambda: compare_devices(RELU, None), "names of devices are needed, got a NoneType"),
        (lambda: plot_comparison(compare_devices(RELU, THREE)).save(3), "path must be a path, got 3"),
        (lambda: plot_comparison(None), "a table of compare_devices or compare_log is drawn, got a NoneType"),
    ],
)
def test_what_cannot_be_compared_is_told(call, says):
    with pytest.raises(TuneError, match=says):
        call()


def test_one_device_is_a_row():
    assert list(compare_devices(RELU, "a100-sim").device) == ["a100-sim"]


def test_a_device_is_compared_once_and_priced_by_any_of_its_names():
    df = compare_devices(RELU, ["a100", "nvidia-a100", "a100-sim"], prices={"A100-SXM4-80GB": 3600})
    assert list(df.device) == ["a100-sim"]
    assert df.cost[0] == pytest.approx(df.time_s[0])


def test_all_are_those_that_are_not_here():
    found = set(compare_devices(RELU, "all").device)
    assert found == set(devices) - {"cpu"}


def test_a_device_without_the_dtype_stands_below_the_others():
    df = compare_devices(fs.Task("matmul", (64, 64, 64), "bfloat16"), ["t4-sim", "a100-sim"])
    assert list(df.device) == ["a100-sim", "t4-sim"]
    assert df.note[1] == "device 't4-sim' has no peak for bfloat16"
    with pytest.raises(DeviceError, match=r"no peak for bfloat16[^$]*it has float16, float32"):
        fs.simulate(fs.Task("matmul", (64, 64, 64), "bfloat16"), "t4-sim")


@pytest.mark.parametrize(
    "task",
    [
        *(fs.Task("matmul", shape, dtype) for shape in ((1, 1, 1), (8192, 1, 255), (2048, 2048, 64), (0, 5, 5))
          for dtype in ("float32", "float16", "int8")),
        fs.Task("conv2d", (16, 64, 56, 56, 64, 3, 1, 1)),
        fs.Task("attention", (1, 8, 512, 64), "float16", causal=True),
        fs.Task("layernorm", (4096, 1024)),
        fs.Task("softmax", (0, 1000)),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_told_of_a_time_agrees_with_it_on_every_device(task):
    for name in devices:
        spec = devices[name]
        (found,) = estimates([task], spec)
        if math.isnan(found.time_s):
            assert found.note
            continue
        assert found.time_s >= found.roofline_s * (1 - 1e-9)
        assert 0 <= found.utilization <= 1
        if spec.power_w is not None:
            rest = spec.power_w / 4 if spec.idle_power_w is None else spec.idle_power_w
            assert rest <= found.energy_j / found.time_s * (1 + 1e-9)
            assert found.energy_j <= spec.power_w * found.time_s * (1 + 1e-9)


def test_what_a_device_cannot_hold_is_told_beside_its_time():
    task = fs.Task("matmul", (100_000, 100_000, 100_000), "float16")  # 60 GB
    df = compare_devices(task, ["a100-sim", "a100-pcie-40gb-sim"]).set_index("device")
    assert df.loc["a100-sim", "note"] == ""
    assert df.loc["a100-pcie-40gb-sim", "note"] == "inputs and result take 60.0 GB, and dram holds 40.0"
    assert df.loc["a100-pcie-40gb-sim", "time_s"] > 0
    assert "60.0 GB" in fs.simulate(task, "a100-pcie-40gb-sim").note


def test_operands_that_a_cache_holds_are_no_limit_beyond_the_time():
    held = fs.simulate(fs.Task("matmul", (100_000, 1, 256), "int8"), "rtx-4090-sim")  # 26 of 72 MB of L2
    assert held.time_s < 100_000 * 257 / devices["rtx-4090-sim"].dram.bandwidth_bytes_per_s
    assert max(held.breakdown.values()) <= held.time_s


def test_nothing_to_compare():
    with pytest.raises(TuneError, match="nothing to compare"):
        compare_devices([], THREE)
    with pytest.raises(TuneError, match="nothing to compare"):
        compare_devices(RELU, [])
    with pytest.raises(DeviceError):
        compare_devices(RELU, ["a1000"])


def test_the_front_holds_what_nothing_beats():
    def row(time_s, energy_j, cost=math.nan):
        return {"time_s": time_s, "energy_j": energy_j, "cost": cost}

    assert pareto([row(1, 9), row(2, 2), row(3, 3), row(1, 9)]) == [True, True, False, True]
    assert pareto([row(1, math.nan), row(2, 5)]) == [True, True]
    assert pareto([row(math.nan, 1), row(2, 5)]) == [False, True]


# -- a log on many devices -------------------------------------------------------------------------------------------


def records(count=8):
    """Trials whose times are what the simulated Xeon says, so that it agrees in full."""
    from flashsched.codegen.analysis import simulate
    from flashsched.errors import Infeasible
    from flashsched.tune.search.knobs import RandomKnobs

    rng, found, seen = random.Random(0), [], set()
    spec = devices["cpu-xeon-sim"]
    task = fs.Task("relu", (256, 1024))
    while len(found) < count:
        try:
            made = task.candidate(RandomKnobs(rng), spec)
        except Infeasible:
            continue
        time_s = simulate(made.schedule, spec).time_s
        if time_s in seen:
            continue
        seen.add(time_s)
        given = {"task": task.to_json(), "trace": made.trace.to_json(), "device": "cpu-xeon-sim", "source": "simulated"}
        found.append(Record(**given, status="unverified", trial=len(found), times_s=[time_s]))
    return found


def test_a_log_that_a_device_agrees_with(tmp_path):
    TuningLog(tmp_path / "a.jsonl").append(*records())
    df = compare_log(tmp_path / "a.jsonl", ["cpu-xeon-sim", "epyc-7763-sim"]).set_index("device")
    xeon = df.loc["cpu-xeon-sim"]
    assert (xeon["records"], xeon["fits"]) == (8, 8)
    assert (xeon["spearman"], xeon["kendall"], xeon["regret"]) == pytest.approx((1.0, 1.0, 0.0))
    assert df.loc["epyc-7763-sim", "regret"] >= 0
    assert df["pareto"].any()
    assert len(compare_log(tmp_path / "a.jsonl", ["cpu-xeon-sim"], most=4)) == 1
    assert "spearman" in comparison_text(df.reset_index())


def test_a_log_that_cannot_be_compared(tmp_path):
    made = records(3)
    log = TuningLog(tmp_path / "a.jsonl")
    log.append(made[0])
    with pytest.raises(TuneError, match="has 1 valid trials"):
        compare_log(tmp_path / "a.jsonl", ["cpu-xeon-sim"])
    other = fs.Task("relu", (8, 8))
    log.append(made[1], Record(**{**{f: getattr(made[2], f) for f in ("trace", "device", "source")},
               "task": other.to_json(), "status": "unverified", "trial": 0, "times_s": [1.0]}))  # fmt: skip
    with pytest.raises(TuneError, match="is about 2 tasks"):
        compare_log(tmp_path / "a.jsonl", ["cpu-xeon-sim"])
    assert len(compare_log(tmp_path / "a.jsonl", ["cpu-xeon-sim"], fs.Task("relu", (256, 1024)))) == 1


def test_rank_agreement():
    assert kendall([1, 2, 3], [10, 20, 30]) == 1.0
    assert kendall([1, 1, 2], [1, 2, 3]) == pytest.approx(2 / math.sqrt(6))
    assert math.isnan(kendall([1, 1], [1, 2]))


# -- pictures --------------------------------------------------------------------------------------------------------


def test_a_drawing_has_a_bar_for_each_device(tmp_path):
    df = fs.compare_devices(RELU, [*THREE, "edge-tpu-sim"])
    picture = fs.plot_comparison(df)
    for device in THREE:
        assert device in picture.svg
    assert picture._repr_svg_() == picture.svg
    assert "nan" not in picture.svg
    picture.save(tmp_path / "a.svg")
    picture.save(tmp_path / "a.html")
    assert (tmp_path / "a.svg").read_text().startswith("<svg")
    assert "<svg" in (tmp_path / "a.html").read_text()
    assert "<pre>" in comparison_page(df, "relu")
    text = comparison_text(df)
    assert "a100-sim" in text
    assert "nan" not in text


def test_a_drawing_has_room_for_all_that_is_in_it():
    wide = "a100-sim[units=54]"
    tasks = [RELU, fs.Task("softmax", (4096, 1024))]
    svg = fs.plot_comparison(fs.compare_devices(tasks, [wide, "cpu-xeon-sim", "ane-m1-sim"], each=True)).svg
    width, height = map(float, re.search(r'viewBox="0 0 (\S+) (\S+)"', svg).groups())
    texts = re.findall(r'<text[^>]*? x="([\d.]+)" y="([\d.]+)"( text-anchor="(\w+)")?>([^<]*)</text>', svg)
    assert len(texts) > 12
    for x, y, _, anchor, text in texts:
        room = 6.6 * len(text) * {"end": 1.0, "middle": 0.5}.get(anchor, 0.0)
        beyond = 6.6 * len(text) - room
        assert room <= float(x) <= width - beyond, text
        assert 0 < float(y) < height
    for x in re.findall(r'circle cx="([\d.]+)"', svg):
        assert 0 < float(x) < width


def test_a_drawing_is_no_bitmap(tmp_path):
    picture = fs.plot_comparison(fs.compare_devices(RELU, THREE))
    with pytest.raises(TuneError, match=r"written as \.svg or as \.html, and .*a\.png.* asks for \.png"):
        picture.save(tmp_path / "a.png")
    assert not (tmp_path / "a.png").exists()


def test_a_drawing_tells_why_a_device_has_no_time():
    df = compare_devices(fs.Task("matmul", (8, 8, 8), "float64"), ["a100-sim", "edge-tpu-sim"])
    assert ">edge-tpu-sim</text>" in plot_comparison(df).svg
    assert ">has no peak for float64<" in plot_comparison(df).svg


def test_nothing_to_draw():
    df = compare_devices(fs.Task("matmul", (8, 8, 8), "float64"), ["edge-tpu-sim"])
    with pytest.raises(TuneError, match="nothing to draw"):
        plot_comparison(df)
