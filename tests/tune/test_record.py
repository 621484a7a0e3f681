from __future__ import annotations

import json
import math
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashsched.errors import LogError
from flashsched.tune.logs.record import SCHEMA, STATUSES, DamagedLineError, Record, new_record_id, utc_now

TASK = {"op": "matmul", "shape": [8, 8, 8], "dtype": "float32", "text": "matmul[8,8,8]:float32", "hash": "ab12"}


def record(**changes: object) -> Record:
    fields: dict[str, object] = {
        "task": TASK,
        "trace": {"steps": [["split", "i", 4]], "decisions": {"tile_i": 2}},
        "device": "cpu",
        "source": "measured",
        "status": "correct",
        "trial": 0,
        "times_s": [0.25, 0.5, 0.125],
        "verified": {"max_error": 1e-6, "tolerance": 1e-5},
    }
    return Record(**(fields | changes))  # type: ignore[arg-type]


def signed(body: dict[str, object]) -> str:
    """A line with a good checksum, whatever it says."""
    text = json.dumps(body, separators=(",", ":"))[:-1]
    return f'{text},"sum":"{zlib.crc32(text.encode()):08x}"}}'


def body(**changes: object) -> dict[str, object]:
    out = json.loads(record().to_json_line())
    del out["sum"]
    return out | changes


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    extra=st.dictionaries(st.text(min_size=1).map(lambda key: "x_" + key), json_values, max_size=4),
    decisions=st.dictionaries(st.text(), st.integers(), max_size=4),
    times=st.lists(st.floats(0, 1e6), min_size=1, max_size=5),
    error=st.none() | st.text(),
)
def test_a_line_reads_back_as_the_same_record(extra, decisions, times, error):
    before = record(extra=extra, trace={"steps": [], "decisions": decisions}, times_s=times, error=error)
    line = before.to_json_line()
    assert Record.from_json_line(line) == before
    assert Record.from_json_line(line).to_json_line() == line
    assert "\n" not in line
    assert line.isascii()


def test_the_line_has_the_fields_of_the_contract_in_order():
    assert list(json.loads(record(extra={"roofline_s": 0.1}).to_json_line())) == [
        "schema", "record_id", "trial", "task", "trace", "device", "source", "status", "error", "times_s", "verified",
        "target", "versions", "seed", "started_at", "roofline_s", "sum",
    ]  # fmt: skip
    assert record().schema == SCHEMA == "flashsched.tuning/1"


def test_equal_records_give_equal_lines_whatever_the_order_of_their_keys():
    one = record(record_id="1", started_at="t", target={"a": 1, "b": {"x": 1, "y": 2}})
    other = record(record_id="1", started_at="t", target={"b": {"y": 2, "x": 1}, "a": 1})
    assert one.to_json_line() == other.to_json_line()


def test_unknown_fields_survive():
    line = signed(body(novelty={"deep": [1, 2.5, None]}))
    assert Record.from_json_line(line).extra == {"novelty": {"deep": [1, 2.5, None]}}
    assert json.loads(Record.from_json_line(line).to_json_line())["novelty"] == {"deep": [1, 2.5, None]}


def test_numpy_scalars_are_written_as_numbers():
    line = record(target={"cores": np.int64(2), "peak": np.float32(0.5)}, times_s=[np.float64(0.5)]).to_json_line()
    assert json.loads(line)["target"] == {"cores": 2, "peak": 0.5}


@pytest.mark.parametrize("value", [math.nan, math.inf, object(), {1, 2}])
def test_what_json_cannot_hold_is_refused(value):
    with pytest.raises(LogError, match="holds a value that JSON cannot"):
        record(extra={"x": value}).to_json_line()


def test_every_single_flipped_byte_is_noticed():
    line = record(record_id="r", started_at=utc_now()).to_json_line().encode()
    for at in range(len(line)):
        damaged = line[:at] + bytes([line[at] ^ 1]) + line[at + 1 :]
        with pytest.raises(DamagedLineError):
            Record.from_json_line(damaged)


@pytest.mark.parametrize("cut", [1, 2, 20, 200])
def test_a_torn_line_is_noticed(cut):
    with pytest.raises(DamagedLineError, match="not JSON"):
        Record.from_json_line(record().to_json_line()[:-cut])


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("[1, 2]", "not a JSON object but list"),
        ("", "not JSON"),
        ("[" * 100_000, "not JSON"),
        (json.dumps({"schema": SCHEMA}), "no checksum"),
        (signed({"schema": SCHEMA, "record_id": "x"}), "the record lacks trial, task"),
        (signed({"schema": "autotvm/3"}), "schema is 'autotvm/3', not 'flashsched.tuning/1'"),
        (signed({"a": 1}), "schema is None"),
        (signed(body(status="splendid")), "status is 'splendid'"),
        (signed(body(extra=1)), "extra may not hold extra"),
        (signed(body(schema="x"))[:-10] + '00000000"}', "the checksum does not fit"),
    ],
)
def test_damage_is_named(line, says):
    with pytest.raises(DamagedLineError, match=says.replace("[", r"\[")):
        Record.from_json_line(line)


def test_a_later_minor_version_is_read():
    assert Record.from_json_line(signed(body(schema="flashsched.tuning/1.7"))).schema == "flashsched.tuning/1.7"


@pytest.mark.parametrize(
    ("schema", "advice"), [("flashsched.tuning/2", "pip install --upgrade"), ("flashsched.tuning/0.3", "that wrote it")]
)
@pytest.mark.parametrize("write", [signed, json.dumps])
def test_another_major_version_is_refused_with_advice(schema, advice, write):
    with pytest.raises(LogError, match=f"(?s)has format {schema}.*hint: .*{advice}") as caught:
        Record.from_json_line(write(body(schema=schema)))
    assert not isinstance(caught.value, DamagedLineError)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"source": "guessed"}, "source is 'guessed'"),
        ({"status": "ok"}, "status is 'ok'"),
        ({"device": ""}, "device is '', and must be a text"),
        ({"trial": -1}, "trial is -1"),
        ({"trial": True}, "trial is True"),
        ({"error": 3}, "error is 3"),
        ({"trace": [1]}, r"trace is \[1\], and must be a dict"),
        ({"verified": 1e-3}, "verified is 0.001"),
        ({"task": {"op": "add", "shape": [1]}}, "task lacks dtype, text, hash"),
        ({"times_s": [math.nan]}, "times_s is"),
        ({"times_s": [-1.0]}, "times_s is"),
        ({"times_s": []}, "status 'correct' needs a time"),
        ({"verified": None}, "needs verified max_error <= tolerance, and verified is None"),
        ({"verified": {"max_error": 2.0, "tolerance": 1.0}}, "needs verified max_error <= tolerance"),
        ({"verified": {"max_error": math.nan, "tolerance": 1.0}}, "needs verified max_error <= tolerance"),
        ({"extra": {"status": "correct"}}, "extra may not hold status"),
    ],
)
def test_a_record_refuses(changes, says):
    with pytest.raises(LogError, match=says):
        record(**changes)


@pytest.mark.parametrize("status", [status for status in STATUSES if status not in ("correct", "unverified")])
def test_a_failed_trial_needs_no_time(status):
    assert math.isnan(record(status=status, times_s=[], verified=None).median_s)


def test_median():
    assert record().median_s == 0.25
    assert record(times_s=[1.0, 2.0]).median_s == 1.5


def test_ids_differ_and_times_sort():
    assert len({new_record_id() for _ in range(100)}) == 100
    stamps = [utc_now() for _ in range(100)]
    assert stamps == sorted(stamps)
