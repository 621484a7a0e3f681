from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flashsched.codegen.build import build
from flashsched.errors import TuneError
from flashsched.hw import devices
from flashsched.ops import layernorm, rmsnorm
from flashsched.tune.search.knobs import FirstKnobs
from flashsched.tune.task import Task

SIZES = st.sampled_from([0, 1, 2, 3, 5, 7, 8, 13, 16, 17, 31, 33, 64, 65, 100, 127, 129, 300])
OPS = st.sampled_from(["layernorm", "rmsnorm"])


def kernel(op, *shape, dtype="float32", **options):
    found = Task(op, shape, dtype, **options).candidate(FirstKnobs(), devices["cpu"])
    return build(found.schedule, found.args, name=op)


@settings(max_examples=20, deadline=None)
@given(
    op=OPS,
    shape=st.tuples(SIZES, SIZES),
    dtype=st.sampled_from(layernorm.dtypes),
    eps=st.sampled_from([1e-5, 0.1]),
    seed=st.none() | st.integers(0, 1 << 16),
)
@example(op="layernorm", shape=(0, 5), dtype="float32", eps=1e-5, seed=None)
@example(op="rmsnorm", shape=(5, 0), dtype="float32", eps=1e-5, seed=0)
def test_any_knobs_compute_what_numpy_computes(assert_right, op, shape, dtype, eps, seed):
    assert assert_right(Task(op, shape, dtype, eps=eps), seed)


@pytest.mark.parametrize("op", ["layernorm", "rmsnorm"])
@pytest.mark.parametrize("dtype", layernorm.dtypes)
@pytest.mark.parametrize("shape", [(1, 1), (7, 7), (3, 1000), (64, 1023), (1, 5000)])
def test_the_default_knobs_are_right(assert_right, op, shape, dtype):
    assert assert_right(Task(op, shape, dtype))


def test_a_mean_far_from_zero_costs_no_digits_of_the_variance():
    x = (np.random.default_rng(0).standard_normal((4, 1000)) + 1000).astype("float32")
    ones, zeros = np.ones(1000, "float32"), np.zeros(1000, "float32")
    naive = (x * x).mean(-1) - x.mean(-1) ** 2
    assert np.abs(naive - x.astype("float64").var(-1)).max() > 0.01
    np.testing.assert_allclose(
        kernel("layernorm", 4, 1000)(x, ones, zeros), layernorm.reference(x, ones, zeros), atol=2e-3
    )


def test_a_constant_row_is_beta():
    x, beta = np.full((3, 40), 7, "float32"), np.arange(40, dtype="float32")
    np.testing.assert_array_equal(kernel("layernorm", 3, 40)(x, beta, beta), np.tile(beta, (3, 1)))


@pytest.mark.parametrize("op", [layernorm, rmsnorm])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_special_values_stay_in_their_row(op, value):
    x = np.random.default_rng(0).standard_normal((3, 70)).astype("float32")
    x[1, 33] = value
    weights = [np.ones(70, "float32")] * (2 if op is layernorm else 1)
    got, want = kernel(op.name, 3, 70)(x, *weights), op.reference(x, *weights)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_eps_is_an_option():
    x, one = np.full((1, 16), 3, "float32"), np.ones(16, "float32")
    np.testing.assert_allclose(kernel("rmsnorm", 1, 16, eps=7.0)(x, one), 3 / 4, rtol=1e-6)
    with pytest.raises(TuneError, match="layernorm has no option 'epsilon'"):
        Task("layernorm", (4, 4), epsilon=1.0)
