"""A glance at a line says what the whole record says, whatever stands in it."""

from __future__ import annotations

import json
import zlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flashsched.errors import LogError
from flashsched.tune.logs.glance import Glance, glance, is_sound
from flashsched.tune.logs.log import TuningLog, glances, glances_at, read, records_at
from flashsched.tune.logs.record import STATUSES, DamagedLineError, Record

TASK = {"op": "matmul", "shape": [8, 8, 8], "dtype": "float32", "text": "matmul 8", "hash": "ab12"}
SEEN = [name for name in Glance.__dataclass_fields__ if not name.startswith("_")]


def record(**changes: object) -> Record:
    fields: dict[str, object] = {
        "task": TASK,
        "trace": {"decisions": {"tile": 2}, "steps": [{"do": "split", "loop": "i"}], "version": 1},
        "device": "cpu",
        "source": "measured",
        "status": "correct",
        "trial": 0,
        "times_s": [0.25, 0.5, 0.125],
        "verified": {"max_error": 1e-6, "tolerance": 1e-5},
        "target": {"cpu": "znver4"},
    }
    return Record(**(fields | changes))  # type: ignore[arg-type]


def same(seen: Glance, whole: Record) -> bool:
    return all(getattr(seen, name) == getattr(whole, name) for name in SEEN) and seen.trace == whole.trace


# Keys at which a line is cut, and texts that look like them.
keys = (
    st.sampled_from(["task", "trace", "device", "target", "seed", "steps", "decisions", "retimes", "sum"]) | st.text()
)
texts = st.sampled_from([',"trace":{', '"},"device":"x', '\\",\\"target\\":{', ',"seed":1']) | st.text(max_size=5)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=8,
)
dicts = st.dictionaries(keys, values, max_size=4)


@given(dicts, dicts, dicts, dicts, st.none() | texts, st.lists(st.floats(0, 1e6), min_size=1, max_size=5))
@example({"a": {"trace": {}}}, {"x": [{"a": 1, "device": "no"}]}, {"b": {"c": 1, "seed": 3}}, {}, None, [1.0])
@example({}, {"a": {"steps": [1], "z": {"a": 1, "steps": [2]}}}, {}, {"x": {"a": 0, "target": {}}}, None, [1.0])
def test_a_glance_says_what_the_record_says(task, trace, target, extra, error, times):
    extra = {"x " + key: value for key, value in extra.items()}
    before = record(task={**task, **TASK}, trace=trace, target=target, extra=extra, error=error, times_s=times)
    line = before.to_json_line().encode()
    seen = glance(line)
    assert same(seen, before)
    assert same(Glance.of(before), before)
    assert is_sound(line)
    decisions = trace.get("decisions")
    if isinstance(decisions, dict):
        assert seen.decisions == decisions


def test_a_line_in_another_order_is_read_whole():
    before = record(extra={"retimes": "x"})
    body = json.loads(before.to_json_line())
    del body["sum"]
    text = json.dumps(dict(reversed(body.items())), separators=(",", ":"))[:-1]
    line = f'{text},"sum":"{zlib.crc32(text.encode()):08x}"}}'.encode()
    assert same(glance(line), before)
    assert not is_sound(line)


@given(st.data())
def test_a_byte_that_is_altered_is_found(data):
    line = bytearray(record(error="what").to_json_line().encode())
    at = data.draw(st.integers(0, len(line) - 1))
    line[at] ^= data.draw(st.sampled_from([1, 2, 4, 8, 16]))
    with pytest.raises(LogError):
        glance(bytes(line))
    assert not is_sound(bytes(line))


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "fine"}, {"source": "dreamt"}, {"trial": -1}, {"trial": "1"}, {"times_s": []}, {"times_s": ["a", 1]},
        {"times_s": [-1.0]}, {"verified": None}, {"verified": {"max_error": 2, "tolerance": 1}}, {"error": 5},
        {"started_at": ""}, {"task": {"op": "x"}}, {"target": []}, {"versions": None}, {"schema": "other/1"},
    ],
)  # fmt: skip
def test_what_a_record_refuses_a_glance_refuses(changes):
    body = json.loads(record().to_json_line()) | changes
    del body["sum"]
    text = json.dumps(body, separators=(",", ":"))[:-1]
    line = f'{text},"sum":"{zlib.crc32(text.encode()):08x}"}}'.encode()
    with pytest.raises(DamagedLineError) as whole:
        Record.from_json_line(line)
    with pytest.raises(DamagedLineError) as seen:
        glance(line)
    assert seen.value.reason.split(": ", 1)[-1] == whole.value.reason.split(": ", 1)[-1]


def test_a_format_of_the_future_is_refused():
    body = json.loads(record().to_json_line()) | {"schema": "flashsched.tuning/2"}
    del body["sum"]
    text = json.dumps(body, separators=(",", ":"))[:-1]
    line = f'{text},"sum":"{zlib.crc32(text.encode()):08x}"}}'.encode()
    assert not is_sound(line)
    with pytest.raises(LogError, match=r"has format flashsched\.tuning/2"):
        glance(line)


def test_records_are_found_again_at_their_offsets(tmp_path):
    path = tmp_path / "a.jsonl"
    good = [record(status=s, times_s=[], error="x") for s in STATUSES if s not in ("correct", "unverified")]
    TuningLog(path).append(*good)
    offsets = [offset for offset, _ in glances(path)]
    assert list(records_at(path, reversed(offsets))) == list(read(path))[::-1]
    assert [seen.record_id for seen in glances_at(path, offsets[2:4])] == [r.record_id for r in good[2:4]]
    assert [offset for offset, _ in glances(path, lambda line: b'"crash"' not in line)] == [
        offset for offset, seen in glances(path) if seen.status == "crash"
    ]
    with pytest.raises(LogError, match=r"a\.jsonl was rewritten while it was read"):
        list(records_at(path, [offsets[1] + 1]))
