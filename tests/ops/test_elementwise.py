from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flashsched as fs
from flashsched.codegen.analysis import simulate
from flashsched.hw import devices, host_spec, probe_host
from flashsched.ops import add, relu
from flashsched.tune.search.knobs import FirstKnobs
from flashsched.tune.task import Task

SIZES = st.sampled_from([0, 1, 2, 5, 13, 16, 17, 31, 64, 67, 251])


@settings(max_examples=30, deadline=None)
@given(
    op=st.sampled_from(["add", "relu"]),
    shape=st.tuples(SIZES, SIZES),
    dtype=st.sampled_from(add.dtypes),
    seed=st.integers(0, 1 << 16),
)
def test_any_knobs_compute_what_numpy_computes(assert_right, op, shape, dtype, seed):
    assert assert_right(Task(op, shape, dtype), seed)


@pytest.mark.parametrize("op", ["add", "relu"])
@pytest.mark.parametrize("dtype", add.dtypes)
def test_the_default_knobs_are_right(assert_right, op, dtype):
    assert assert_right(Task(op, (67, 131), dtype))


@pytest.mark.parametrize("shape", [(7, 5000), (777, 333), (3, 5), (1000, 1000)])
@pytest.mark.parametrize("cores", [1, 2])
def test_chunks_are_alike(shape, cores):
    """No thread has more to do than another, and the last chunk no more than a few turns that are masked off."""
    spec = host_spec(None, dataclasses.replace(probe_host(), cores=cores))
    schedule = Task("add", shape).candidate(FirstKnobs(), spec).schedule
    state = schedule.state
    chunks, turns, width = (state.loop("Z", loop.name).turns for loop in schedule["Z"].loops)
    assert chunks == 1 or chunks % cores == 0
    assert chunks * turns * width - math.prod(shape) < (chunks + 1) * width


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16"])
def test_sums_of_integers_wrap_as_in_numpy(dtype):
    most = np.full((4, 40), np.iinfo(dtype).max, dtype)
    np.testing.assert_array_equal(fs.add(most, most), most + most)


def test_relu_keeps_nan_and_drops_what_is_below_zero():
    x = np.array([[np.nan, -np.inf, -0.0, 0.0, np.inf, -1e-38, 3.0] * 9], np.float32)
    out = fs.relu(x)
    np.testing.assert_array_equal(out, np.maximum(x, 0))
    assert np.isnan(out).sum() == 9


def test_both_take_the_same_dtypes():
    assert add.dtypes == relu.dtypes


@pytest.mark.parametrize("dtype", add.dtypes)
def test_this_cpu_has_a_peak_for_each_dtype(dtype):
    assert devices["cpu"].peak(dtype) > 0
    assert simulate(Task("add", (5, 37), dtype).candidate(FirstKnobs(), devices["cpu"]).schedule, devices["cpu"]).time_s
