from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flashsched.codegen.build import build
from flashsched.codegen.emit import emit
from flashsched.codegen.lower import lower
from flashsched.codegen.target import host_target
from flashsched.errors import TuneError
from flashsched.hw import devices
from flashsched.ops import softmax
from flashsched.tune.search.knobs import FirstKnobs
from flashsched.tune.task import Task

SIZES = st.sampled_from([0, 1, 2, 3, 5, 7, 8, 13, 16, 17, 31, 33, 64, 65, 100, 127, 129, 300])


def kernel(*shape, dtype="float32"):
    found = Task("softmax", shape, dtype).candidate(FirstKnobs(), devices["cpu"])
    return build(found.schedule, found.args, name="softmax")


@settings(max_examples=20, deadline=None)
@given(shape=st.tuples(SIZES, SIZES), dtype=st.sampled_from(softmax.dtypes), seed=st.none() | st.integers(0, 1 << 16))
@example(shape=(0, 5), dtype="float32", seed=None)
@example(shape=(5, 0), dtype="float32", seed=0)
def test_any_knobs_compute_what_numpy_computes(assert_right, shape, dtype, seed):
    assert assert_right(Task("softmax", shape, dtype), seed)


@pytest.mark.parametrize("dtype", softmax.dtypes)
@pytest.mark.parametrize("shape", [(1, 1), (7, 7), (3, 1000), (64, 1023), (1, 5000)])
def test_the_default_knobs_are_right(assert_right, shape, dtype):
    assert assert_right(Task("softmax", shape, dtype))


@pytest.mark.parametrize("dtype", softmax.dtypes)
@pytest.mark.parametrize("shape", [(17, 10), (35, 63)])
def test_short_rows_are_right_a_row_in_each_lane(assert_right, shape, dtype):
    assert assert_right(Task("softmax", shape, dtype))


@pytest.mark.parametrize(("columns", "turned"), [(10, True), (1000, False)])
def test_short_rows_are_turned_around(columns, turned):
    found = Task("softmax", (100, columns)).candidate(FirstKnobs(), devices["cpu"])
    assert any(step.primitive == "transform_layout" for step in found.trace) == turned
    assert "gather" not in emit(lower(found.schedule, found.args), host_target())


def test_a_row_is_within_a_few_roundings():
    x = np.random.default_rng(0).standard_normal((50, 1000)).astype("float32") * 4
    np.testing.assert_allclose(kernel(50, 1000)(x), softmax.reference(x), rtol=2e-6)


@pytest.mark.parametrize("columns", [1, 5, 16, 70, 1000])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_special_values(columns, dtype):
    """Each in any place of the row, so that it meets every lane and every step of the tree."""
    rows = []
    for value in (np.nan, np.inf, -np.inf, 1e38, -1e38):
        for place in {0, 1, columns // 2, columns - 1}:
            row = np.linspace(-3, 3, columns).astype(dtype)
            row[place % columns] = value
            rows.append(row)
    rows += [np.full(columns, value, dtype) for value in (np.nan, np.inf, -np.inf, 3e38, -3e38, 0.0)]
    rows += [np.array(([np.nan, -np.inf, np.inf] * columns)[:columns], dtype)]
    x = np.array(rows)
    got, want = kernel(*x.shape, dtype=dtype)(x), softmax.reference(x)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-44)


def test_memory_holds_one_row_between_input_and_output():
    found = Task("softmax", (100, 1000)).candidate(FirstKnobs(), devices["cpu"])
    text = str(lower(found.schedule, found.args))
    assert "power = alloc(float32[1, 1000], 'global')" in text
    assert text.count("alloc(") == text.count("alloc(float32[1")


def test_only_the_last_turn_of_a_ragged_row_asks_what_there_is():
    for columns in (333, 64 * 5 + 1):  # whatever the vectors of this machine, some elements are left
        found = Task("softmax", (4, columns)).candidate(FirstKnobs(), devices["cpu"])
        text = str(lower(found.schedule, found.args))
        assert f"< {columns}" not in text
        assert "if j.i < " in text


def test_threads_are_for_large_ones():
    small, large = (Task("softmax", shape).candidate(FirstKnobs(), devices["cpu"]) for shape in ((8, 64), (1000, 1000)))
    assert "# parallel" not in str(small.schedule)
    assert "# parallel" in str(large.schedule)


def test_refusals():
    with pytest.raises(TuneError, match="softmax does not take 'int8'"):
        Task("softmax", (4, 4), "int8")
    with pytest.raises(TuneError, match=r"softmax takes a shape of 2 numbers \(rows,cols\)"):
        Task("softmax", (4,))


def test_what_overflows_the_caches_is_stored_past_them():
    spec = devices["cpu"]
    most = max(level.size_bytes for level in spec.memory[:-1])
    small = Task("softmax", (64, 1024)).candidate(FirstKnobs(), spec)
    large = Task("softmax", (most // 8192 + 1, 1024)).candidate(FirstKnobs(), spec)
    assert "nontemporal" not in str(small.schedule)
    assert "nontemporal" in str(large.schedule)
