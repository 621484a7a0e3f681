from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flashsched.codegen.build import build
from flashsched.hw import devices
from flashsched.ops import transpose
from flashsched.tune.search.knobs import FirstKnobs
from flashsched.tune.task import Task

SIZES = st.sampled_from([0, 1, 2, 7, 8, 15, 16, 17, 33, 64, 100, 129])


@settings(max_examples=25, deadline=None)
@given(shape=st.tuples(SIZES, SIZES), dtype=st.sampled_from(transpose.dtypes), seed=st.none() | st.integers(0, 1 << 16))
@example(shape=(0, 5), dtype="float32", seed=None)
@example(shape=(300, 257), dtype="float32", seed=None)
def test_any_knobs_compute_what_numpy_computes(assert_right, shape, dtype, seed):
    assert assert_right(Task("transpose", shape, dtype), seed)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_tile_is_turned_by_shuffles(dtype):
    found = Task("transpose", (128, 128), dtype).candidate(FirstKnobs(), devices["cpu"])
    text = build(found.schedule, found.args).llvm_ir()
    assert "shufflevector" in text
    assert "masked.gather" not in text
    assert "masked.scatter" not in text
