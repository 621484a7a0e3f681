from __future__ import annotations

import dataclasses
import json
import math
import re
import tracemalloc
import xml.etree.ElementTree as ET

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import flashsched.tune.logs.fronts
from flashsched.errors import LogError
from flashsched.tune.logs.log import LogWarning, TuningLog
from flashsched.tune.logs.record import Record
from flashsched.tune.logs.report import (
    COLUMNS,
    FRONT_COLUMNS,
    SUMMARY_COLUMNS,
    frame,
    fronts,
    read_log,
    seconds_text,
    summarize,
    summary,
    to_html,
    to_text,
)

TASK = {"op": "matmul", "shape": [8, 8, 8], "dtype": "float32", "text": "matmul 8", "hash": "8", "flops": 1024}
ADD = {"op": "add", "shape": [4, 4], "dtype": "float32", "text": "add 4", "hash": "4"}


def record(trial: int = 0, status: str = "correct", time_s: float = 0.5, **changes: object) -> Record:
    good = status in ("correct", "unverified")
    fields: dict[str, object] = {
        "task": TASK,
        "trace": {"steps": [], "decisions": {"tile": trial}},
        "device": "cpu",
        "source": "measured",
        "status": status,
        "trial": trial,
        "error": None if good else f"<{status}> & worse\nmore",
        "times_s": [time_s] if good else [],
        "verified": {"max_error": 0.0, "tolerance": 1e-5} if good else None,
        "started_at": f"2026-01-01T00:00:{trial:02}Z",
        "seed": 0,
    }
    return Record(**(fields | changes))  # type: ignore[arg-type]


RECORDS = [
    record(0, time_s=4e-6, extra={"roofline_s": 1e-6}, times_s=[3e-6, 4e-6, 9e-6]),
    record(1, time_s=2e-6, extra={"roofline_s": 1e-6}),
    record(2, "crash"),
    record(3, "unverified", 1e-9),  # measured, so it must not win
    record(4, "unverified", 1e-6, device="a100-sim", source="simulated", extra={"roofline_s": 0.8e-6}),
    record(5, "correct", 3e-6, device="a100-sim", source="simulated"),
    record(6, "wrong", task=ADD, trace={}),
]


@pytest.fixture
def table():
    return frame(RECORDS)


def test_a_row_for_every_trial(table):
    assert list(table.columns) == list(COLUMNS)
    assert len(table) == 7
    first = table.iloc[0]
    assert (first["trial"], first["op"], first["shape"], first["dtype"]) == (0, "matmul", (8, 8, 8), "float32")
    assert (first["device"], first["source"], first["status"], first["seed"]) == ("cpu", "measured", "correct", 0)
    assert (first["time_s"], first["share_of_roofline"]) == (4e-6, 0.25)
    assert first["gflops"] == pytest.approx(0.256)
    assert first["decisions"] == {"tile": 0}
    assert first["error"] is None
    crash = table.iloc[2]
    assert math.isnan(crash["time_s"])
    assert math.isnan(crash["gflops"])
    assert crash["error"].startswith("<crash>")
    assert math.isnan(table.iloc[3]["share_of_roofline"])


def test_logs_are_read_in_order(tmp_path):
    TuningLog(tmp_path / "a").append(*RECORDS[:3])
    TuningLog(tmp_path / "b").append(*RECORDS[3:])
    assert list(read_log(tmp_path / "a")["trial"]) == [0, 1, 2]
    assert list(read_log(str(tmp_path / "a"))["trial"]) == [0, 1, 2]
    assert list(read_log([tmp_path / "b", tmp_path / "a"])["trial"]) == [3, 4, 5, 6, 0, 1, 2]
    with (tmp_path / "a").open("a") as file:
        file.write("junk\n")
    with pytest.warns(LogWarning, match="a:4"):
        assert len(read_log(tmp_path / "a")) == 3
    with pytest.raises(LogError, match="there is no log at"):
        read_log(tmp_path / "c")


@pytest.fixture
def settled(tmp_path):
    """Two logs of a run whose finalists were timed again: one there, one in the other log, one of a lost trial."""
    again = {"extra": {"retimes": RECORDS[1].record_id}}
    TuningLog(tmp_path / "a").append(*RECORDS, record(1, time_s=7e-6, **again))
    other = [record(9, "crash", extra={"retimes": RECORDS[0].record_id}), record(5, extra={"retimes": "lost"})]
    TuningLog(tmp_path / "b").append(*other)
    return [tmp_path / "b", tmp_path / "a"]


def test_a_finalist_stands_once_as_it_was_timed_in_the_end(settled):
    table = read_log(settled)
    assert list(table["trial"]) == [9, 1, 2, 3, 4, 5, 6, 5]
    assert list(table["status"])[:2] == ["crash", "correct"]
    assert table["time_s"][1] == 7e-6


def test_a_summary_in_passing_is_that_of_the_table(settled):
    pd.testing.assert_frame_equal(summary(settled).table(), summarize(read_log(settled)))
    assert summary(settled).text() == to_text(read_log(settled))
    assert summary([]).text() == "no trials"


def test_some_columns(settled):
    pd.testing.assert_frame_equal(read_log(settled, ("status", "trial")), read_log(settled)[["status", "trial"]])
    with pytest.raises(LogError, match=r"no column 'time'(.|\n)*time_s"):
        read_log(settled, ["time"])


def test_a_report_of_many_trials_takes_the_memory_of_few(tmp_path):
    TuningLog(tmp_path / "a").append(*(record(trial, time_s=1 + trial) for trial in range(3000)))
    summary(tmp_path / "a")  # imports, caches
    tracemalloc.start()
    text = summary(tmp_path / "a").text()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert text.split()[-6:-3] == ["3000", "3000", "1.00"]
    assert peak < 200_000 < (tmp_path / "a").stat().st_size / 4


def test_no_trials_still_have_columns():
    empty = frame([])
    assert list(empty.columns) == list(COLUMNS)
    assert empty["time_s"].dtype == float
    assert list(summarize(empty).columns) == list(SUMMARY_COLUMNS)
    assert to_text(empty) == "no trials"
    assert "0 trials" in to_html(empty)


def test_the_summary_keeps_measured_and_simulated_apart(table):
    rows = summarize(table).set_index(["op", "source"])
    assert len(rows) == 3
    measured = rows.loc[("matmul", "measured")]
    assert (measured["time_s"], measured["best_trial"], measured["trials"], measured["valid"]) == (2e-6, 1, 4, 2)
    assert (measured["failed"], measured["share_of_roofline"], measured["record_id"]) == (2, 0.5, RECORDS[1].record_id)
    assert (rows.loc[("matmul", "simulated")]["time_s"], rows.loc[("matmul", "simulated")]["best_trial"]) == (1e-6, 4)
    nothing = rows.loc[("add", "measured")]
    assert (nothing["best_trial"], nothing["record_id"]) == (-1, "")
    assert math.isnan(nothing["time_s"])


def test_the_summary_survives_json_and_csv(table):
    parsed = json.loads(summarize(table).to_json(orient="records"))
    assert {row["time_s"] for row in parsed} == {2e-6, 1e-6, None}
    assert "2e-06" in table.to_csv()


def test_text(table):
    assert to_text(table).splitlines() == [
        "op      shape  dtype    device    source     trials  valid     best  GFLOP/s  of roofline",
        "add     4×4    float32  cpu       measured        1      0        –        –            –",
        "matmul  8×8×8  float32  cpu       measured        4      2  2.00 µs    0.512       50.0 %",
        "matmul  8×8×8  float32  a100-sim  simulated       2      2  1.00 µs     1.02       80.0 %",
        "",
        "not valid: 1 crash, 1 unverified, 1 wrong",
    ]


# -- several objectives ---------------------------------------------------------------------------------------------


def simulated(trial: int, time_s: float, energy_j: float, code: float, wanted: str = "time, energy") -> Record:
    extra = {"energy_j": energy_j, "code": code, **({"objectives": wanted.split(", ")} if wanted != "time" else {})}
    return record(trial, "unverified", time_s, device="a100-sim", source="simulated", extra=extra)


OBJECTIVES = [
    simulated(0, 1e-6, 5.0, 90),
    simulated(1, 2e-6, 3.0, 80),
    simulated(2, 3e-6, 3.0, 10),  # beaten in what was searched for
    simulated(3, 4e-6, 1.0, 70),
    simulated(4, 4e-6, 1.0, 60),  # ties with the one before, and is shorter
    simulated(5, 1e-7, 0.1, 1, "time"),  # of a run for the time alone
    record(6, "crash", device="a100-sim", source="simulated", extra={"objectives": ["time", "energy"]}),
]


def test_a_front_is_of_what_was_searched_for():
    found = fronts(frame(OBJECTIVES))
    assert list(found.columns) == list(FRONT_COLUMNS)
    assert list(found["trial"]) == [0, 1, 4]
    assert set(found["objectives"]) == {"time, energy"}
    more = fronts(frame([*OBJECTIVES, simulated(7, 9e-6, 9.0, 95, "time, energy, code")]))
    assert list(more["trial"]) == [0, 1, 2, 4]  # the code counts for all of them now
    apart = fronts(frame([*OBJECTIVES, *(dataclasses.replace(r, device="h100-sim") for r in OBJECTIVES[2:4])]))
    assert list(apart["trial"]) == [0, 1, 4, 2, 3]
    assert list(fronts(frame(RECORDS)).columns) == list(FRONT_COLUMNS)
    assert fronts(frame(RECORDS)).empty


@given(st.lists(st.tuples(*[st.integers(1, 6)] * 3), min_size=1, max_size=40), st.sampled_from([1, 8, 256]))
def test_a_front_in_passing_is_that_of_the_whole(values, room):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flashsched.tune.logs.fronts, "_ROOM", room)
        found = fronts(frame([simulated(n, *map(float, value)) for n, value in enumerate(values)]))
    pairs = {value[:2] for value in values}
    best = {one for one in pairs if not any(o != one and o[0] <= one[0] and o[1] <= one[1] for o in pairs)}
    assert sorted(zip(found["time_s"], found["energy_j"], strict=True)) == sorted(best)


def test_a_front_is_reported(tmp_path):
    TuningLog(tmp_path / "a").append(*OBJECTIVES)
    text = summary(tmp_path / "a").text()
    assert text.splitlines()[-5:] == [
        "matmul 8×8×8 float32 on a100-sim, time and energy: 3 trials that none beats in all",
        "  trial     time   energy",
        "      0  1.00 µs  5000 mJ",
        "      1  2.00 µs  3000 mJ",
        "      4  4.00 µs  1000 mJ",
    ]
    assert text == to_text(read_log(tmp_path / "a"))
    assert "Pareto front: 3 trials" in to_html(read_log(tmp_path / "a"))
    assert "Pareto" not in to_html(frame(RECORDS))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(1.0, "1.00 s"), (123.4, "123 s"), (0.99999, "1.00 s"), (0.0999, "99.9 ms"), (1.2e-5, "12.0 µs"),
     (9.996e-7, "1.00 µs"), (3e-10, "0.300 ns"), (0.0, "0 ns"), (math.nan, "–"), (math.inf, "–")],
)  # fmt: skip
def test_seconds(seconds, text):
    assert seconds_text(seconds) == text


@given(st.floats(1e-9, 1e4))
def test_seconds_keep_three_digits(seconds):
    number, unit = seconds_text(seconds).split()
    scale = {"s": 1, "ms": 1e-3, "µs": 1e-6, "ns": 1e-9}[unit]
    assert float(number) * scale == pytest.approx(seconds, rel=5.01e-3)
    assert "e" not in number


# -- the page -------------------------------------------------------------------------------------------------------


def drawings(html: str) -> list[ET.Element]:
    return [ET.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", html, flags=re.DOTALL)]


def test_the_page_stands_alone_and_escapes(table):
    html = to_html(table, title="A <b> & B")
    assert html.startswith("<!doctype html>")
    assert "<title>A &lt;b&gt; &amp; B</title>" in html
    assert "&lt;crash&gt; &amp; worse" in html
    assert "<crash>" not in html
    assert not re.search(r"(?i)https?://|<script|<link|@import|src=", html)
    body = html.split("\n", 1)[1].replace('<meta charset="utf-8">', "")
    ET.fromstring(re.sub(r"<meta [^>]*>", "", body))  # every tag is closed


def test_the_page_keeps_measured_and_simulated_apart(table):
    html = to_html(table)
    measured, simulated = html.index("<h2>Measured</h2>"), html.index("<h2>Simulated</h2>")
    assert measured < html.index("2.00 µs") < simulated < html.index("1.00 µs")
    assert "none of this is a measurement" in html[simulated:]
    assert html.index('<span class="badge">a100-sim</span>') > simulated


def test_the_curve_only_falls_and_shows_every_trial():
    times = [8e-6, 9e-6, 2e-6, 4e-6, 1e-6, 3e-6]
    records = [record(n, time_s=time) for n, time in enumerate(times)] + [record(6, "crash")]
    (svg,) = drawings(to_html(frame(records)))
    assert len(svg.findall("circle")) == 6
    assert len(svg.findall("path[@class='miss']")) == 1
    path = svg.find("path[@class='best']").get("d")  # type: ignore[union-attr]
    heights = [float(number) for number in re.findall(r"V([\d.]+)", path)]
    assert len(heights) == 2  # two improvements on the first
    assert heights == sorted(heights)  # downwards on the page
    assert len(svg.findall("line")) >= 2
    assert any(text.text == "2 µs" for text in svg.findall("text"))


@pytest.mark.parametrize("times", [[1e-3], [1e-3, 1e-3], [1e-9, 1e3], [5e-4, 5.01e-4], []])
def test_odd_curves_are_drawn(times):
    records = [record(n, time_s=time) for n, time in enumerate(times)] + [record(50, "timeout")]
    html = to_html(frame(records))
    for svg in drawings(html):
        numbers = [float(node.get("cy")) for node in svg.findall("circle")]
        assert all(12 <= number <= 186 for number in numbers)
        assert 1 <= len(svg.findall("line")) <= 12
    assert bool(times) == ("<svg" in html)
