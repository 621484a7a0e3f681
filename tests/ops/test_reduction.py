from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flashsched.codegen.build import build
from flashsched.errors import TuneError
from flashsched.hw import devices
from flashsched.ops import OPERATORS, sum_over
from flashsched.tune.search.knobs import FirstKnobs
from flashsched.tune.task import Task

SIZES = st.sampled_from([0, 1, 2, 3, 5, 8, 13, 16, 17, 31, 33, 64, 65, 100, 129])
OPS = ("sum", "mean", "max")


def kernel(op, *shape, dtype="float32", **options):
    found = Task(op, shape, dtype, **options).candidate(FirstKnobs(), devices["cpu"])
    return build(found.schedule, found.args, name=op)


@settings(max_examples=30, deadline=None)
@given(
    op=st.sampled_from(OPS),
    shape=st.tuples(SIZES, SIZES),
    dtype=st.sampled_from(sum_over.dtypes),
    axis=st.sampled_from([0, 1]),
    seed=st.none() | st.integers(0, 1 << 16),
)
@example(op="max", shape=(5, 0), dtype="float32", axis=1, seed=None)
@example(op="mean", shape=(0, 5), dtype="float32", axis=0, seed=0)
@example(op="sum", shape=(64, 64), dtype="float32", axis=0, seed=None)
def test_any_knobs_compute_what_numpy_computes(assert_right, op, shape, dtype, axis, seed):
    assert assert_right(Task(op, shape, dtype, axis=axis), seed)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("shape", [(1, 1), (7, 7), (100, 1000), (1023, 64), (1, 5000), (5000, 1)])
def test_the_default_knobs_are_right(assert_right, op, axis, shape):
    assert assert_right(Task(op, shape, axis=axis))


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_special_values(op, axis, value):
    x = np.random.default_rng(0).standard_normal((37, 70)).astype("float32")
    x[5, 33] = value
    got = kernel(op, 37, 70, axis=axis)(x)
    np.testing.assert_allclose(got, OPERATORS[op].reference(x, axis), rtol=1e-5, atol=1e-5)


def test_a_mean_of_nothing_is_nan_and_the_largest_of_nothing_is_minus_infinity():
    nothing = np.zeros((3, 0), "float32")
    assert np.isnan(kernel("mean", 3, 0)(nothing)).all()
    assert (kernel("max", 3, 0)(nothing) == -np.inf).all()
    assert (kernel("sum", 3, 0)(nothing) == 0).all()


def test_narrow_floats_are_added_up_wide():
    ones = np.ones((1, 5000), "float16")
    assert kernel("sum", 1, 5000, dtype="float16")(ones) == 5000  # in float16, 2048 + 1 is 2048


def test_refusals():
    with pytest.raises(TuneError, match=r"sum: axis is 0 \(over the rows, for each column\) or 1, not 2"):
        Task("sum", (4, 4), axis=2)
    with pytest.raises(TuneError, match="max does not take 'int8'"):
        Task("max", (4, 4), "int8")
