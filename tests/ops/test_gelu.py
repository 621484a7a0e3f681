from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flashsched.codegen.build import build
from flashsched.errors import TuneError
from flashsched.hw import devices
from flashsched.ops import gelu
from flashsched.tune.search.knobs import FirstKnobs
from flashsched.tune.task import Task

SIZES = st.sampled_from([0, 1, 2, 5, 13, 16, 17, 31, 64, 67, 251])


@settings(max_examples=20, deadline=None)
@given(
    shape=st.tuples(SIZES, SIZES),
    dtype=st.sampled_from(gelu.dtypes),
    form=st.sampled_from(["erf", "tanh"]),
    bias=st.booleans(),
    residual=st.booleans(),
    seed=st.none() | st.integers(0, 1 << 16),
)
@example(shape=(67, 251), dtype="float32", form="erf", bias=True, residual=True, seed=None)
def test_any_knobs_compute_what_numpy_computes(assert_right, shape, dtype, form, bias, residual, seed):
    assert assert_right(Task("gelu", shape, dtype, form=form, bias=bias, residual=residual), seed)


@pytest.mark.parametrize("form", ["erf", "tanh"])
def test_special_and_small_values(form):
    x = np.array([[np.nan, np.inf, 0.0, -0.0, 1e-30, -1e-30, 5.0, -5.0, 12.0, 1e30]], np.float32)
    found = Task("gelu", x.shape, form=form).candidate(FirstKnobs(), devices["cpu"])
    got, want = build(found.schedule, found.args)(x), gelu.reference(x, form=form)
    np.testing.assert_allclose(got, want, rtol=2e-5, atol=1e-6)
    np.testing.assert_allclose(got[0, 2:6], want[0, 2:6], rtol=1e-6)


def test_the_inputs_come_as_in_the_function():
    assert [t.name for t in gelu.args((2, 3), options={"bias": True, "residual": True})] == [
        "X", "bias", "residual", "Y",
    ]  # fmt: skip


def test_refusals():
    with pytest.raises(TuneError, match="gelu: form is 'erf' or 'tanh', not 'relu'"):
        Task("gelu", (4, 4), form="relu")
