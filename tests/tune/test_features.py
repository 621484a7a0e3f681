"""Features: the same names always, finite numbers only, and they tell good schedules from bad ones."""

from __future__ import annotations

import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flashsched import te
from flashsched.codegen.analysis import works
from flashsched.errors import DeviceError
from flashsched.hw.registry import devices
from flashsched.testing.graphs import Graph, graphs
from flashsched.testing.programs import matmul
from flashsched.testing.schedules import GPU_PRIMITIVES, schedules
from flashsched.tune.costmodel.features import FEATURES, features, features_of

SPECS = [devices["a100-sim"], devices["cpu-xeon-sim"]]


@given(st.data())
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=40)
def test_all_schedules_have_the_same_finite_features(data: st.DataObject) -> None:
    graph: Graph = data.draw(graphs())
    schedule = data.draw(schedules(graph.outputs, primitives=GPU_PRIMITIVES))
    found = features(schedule, data.draw(st.sampled_from(SPECS)))
    assert tuple(found) == FEATURES
    assert all(type(value) is float and math.isfinite(value) for value in found.values())


def test_names_are_unique_and_nothing_gives_zeros() -> None:
    assert len(set(FEATURES)) == len(FEATURES)
    assert set(features_of([], [], SPECS[0]).values()) == {0.0}


def test_features_tell_what_a_step_changes() -> None:
    *_, c = matmul(512, 512, 512)
    plain = te.create_schedule(c)
    s = plain.copy()
    i, j = s[c].op.axis
    outer, inner = s[c].split(j, 16)
    s[c].reorder(i, outer, *s[c].op.reduce_axis, inner)
    s[c].vectorize(inner)
    s[c].parallel(i)
    before, after = (features(schedule, SPECS[1]) for schedule in (plain, s))
    assert (before["lanes"], after["lanes"]) == (0, 4)
    assert before["log_useful_flops"] == after["log_useful_flops"]
    assert after["log_l1_bytes"] < before["log_l1_bytes"]
    assert after["parallel_items"] > before["parallel_items"]
    assert after["predicted_time"] < before["predicted_time"] - 3  # more than eight times as fast


def test_a_ragged_tile_shows_as_waste() -> None:
    *_, c = matmul(100, 100, 8)

    def waste(factor: int) -> float:
        s = te.create_schedule(c)
        loops = s[c].tile(*s[c].op.axis, factor, factor)
        for loop, axis in zip(loops, ("blockIdx.y", "blockIdx.x", "threadIdx.y", "threadIdx.x"), strict=True):
            s[c].bind(loop, axis)
        return features(s, SPECS[0])["tail_waste"]

    assert waste(10) == 0
    assert waste(16) == pytest.approx(math.log2((112 / 100) ** 2))


def test_a_device_without_a_reader_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    *_, c = matmul(8, 8, 8)
    monkeypatch.delitem(works._READERS, "tpu")
    with pytest.raises(DeviceError, match="no nest is read"):
        features(te.create_schedule(c), devices["tpu-v4-sim"])
