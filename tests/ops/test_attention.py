from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flashsched.codegen.build import build
from flashsched.codegen.lower import lower
from flashsched.errors import Infeasible, TuneError
from flashsched.hw import devices
from flashsched.ops import attention
from flashsched.ops.attention import _blocks
from flashsched.tune.search.knobs import FirstKnobs, FixedKnobs
from flashsched.tune.task import Task


def kernel(*shape, dtype="float32", **options):
    found = Task("attention", shape, dtype, **options).candidate(FirstKnobs(), devices["cpu"])
    return build(found.schedule, found.args, name="attention")


def normal(*shape, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype("float32") for _ in range(3)]


@settings(max_examples=10, deadline=None)
@given(
    heads=st.sampled_from([(1, 1), (2, 1), (1, 3), (0, 2)]),
    queries=st.sampled_from([0, 1, 2, 7, 16, 31, 33, 64, 70, 129]),
    depth=st.sampled_from([0, 1, 3, 8, 13, 16, 20]),
    dtype=st.sampled_from(attention.dtypes),
    causal=st.booleans(),
    seed=st.none() | st.integers(0, 1 << 16),
)
@example(heads=(1, 2), queries=65, depth=8, dtype="float32", causal=True, seed=None)
@example(heads=(1, 1), queries=0, depth=4, dtype="float32", causal=True, seed=0)
@example(heads=(1, 1), queries=4, depth=0, dtype="float32", causal=False, seed=0)
def test_any_knobs_compute_what_numpy_computes(assert_right, heads, queries, depth, dtype, causal, seed):
    assert_right(Task("attention", (*heads, queries, depth), dtype, causal=causal), seed)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 2, 64, 16), (1, 2, 513, 8), (1, 1, 1000, 40), (1, 1, 1023, 7)])
def test_the_default_knobs_are_right(assert_right, shape, causal):
    assert assert_right(Task("attention", shape, causal=causal))


@pytest.mark.parametrize("causal", [False, True])
def test_a_result_is_within_a_few_roundings(causal):
    q, k, v = normal(1, 2, 600, 64)
    got = kernel(1, 2, 600, 64, causal=causal)(q, k, v)
    np.testing.assert_allclose(got, attention.reference(q, k, v, causal), rtol=1e-4, atol=2e-6)


def test_later_keys_do_not_count_when_causal():
    q, k, v = normal(1, 1, 100, 8)
    f = kernel(1, 1, 100, 8, causal=True)
    before = f(q, k, v)
    k[:, :, 70:], v[:, :, 70:] = 1e3, -1e3
    np.testing.assert_array_equal(f(q, k, v)[:, :, :70], before[:, :, :70])


@pytest.mark.parametrize("queries", [40, 530])
def test_scores_far_from_zero_neither_overflow_nor_vanish(queries):
    q, k, v = normal(1, 1, queries, 16)
    got = kernel(1, 1, queries, 16)(q * 100, k * 10, v)
    np.testing.assert_allclose(got, attention.reference(q * 100, k * 10, v), rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("queries", [40, 530])
def test_infinite_and_missing_scores(queries):
    q, k, v = normal(1, 1, queries, 4)
    q[0, 0, 3], q[0, 0, 5, 0], q[0, 0, 7] = np.nan, np.inf, 0.0
    k[0, 0, :, 1:] = 0
    q[0, 0, 9] = np.array([-np.inf, 0, 0, 0])
    k[0, 0, :, 0] = np.abs(k[0, 0, :, 0]) + 0.1  # all of query 5's scores are infinite, all of query 9's minus so
    got, want = kernel(1, 1, queries, 4)(q, k, v), attention.reference(q, k, v)
    assert np.isnan(want[0, 0, [3, 5, 9]]).all()
    np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_an_infinite_value_at_the_last_key_stays_infinite():
    q, k, v = normal(1, 1, 520, 4)  # 16 keys short of two whole blocks
    v[0, 0, -1] = np.inf
    assert (kernel(1, 1, 520, 4)(q, k, v) == np.inf).all()


def test_the_scores_are_never_all_there():
    found = Task("attention", (1, 1, 2048, 64), causal=True).candidate(FirstKnobs(), devices["cpu"])
    sizes = [
        np.prod([int(n) for n in line.split("float32[")[1].split("]")[0].split(",")])
        for line in str(lower(found.schedule, found.args)).split("\n")
        if " = alloc(" in line
    ]
    assert len(sizes) > 5
    assert max(sizes) <= 64 * 64 * 2  # of 2048 * 2048


def test_causal_attention_leaves_later_blocks_of_keys_out():
    found = Task("attention", (1, 1, 256, 64), causal=True).candidate(FirstKnobs(), devices["cpu"])
    lines = str(lower(found.schedule, found.args)).split("\n")
    place = next(n for n, line in enumerate(lines) if line.strip() == "for c in range(4):")
    assert lines[place + 1].strip().startswith("if c * 64 < ")
    assert "score = alloc(" in lines[place + 2]


@pytest.mark.parametrize(
    ("keys", "most", "blocks"), [(0, 512, (1, 0)), (1, 512, (1, 1)), (512, 512, (1, 512)), (513, 512, (2, 272)),
                                 (1000, 512, (2, 512)), (128, 64, (2, 64)), (65, 64, (2, 48))],
)  # fmt: skip
def test_blocks_cover_the_keys(keys, most, blocks):
    count, each = _blocks(keys, most)
    assert (count, each) == blocks
    assert keys <= count * each < keys + 16 * count


def test_a_tile_must_fit_the_registers():
    task = Task("attention", (1, 1, 64, 16))
    with pytest.raises(Infeasible, match=r"tile_q=4 and tile_k=12 need 53 of \d+ registers"):
        task.candidate(FixedKnobs({"tile_q": 3, "tile_k": 4, "tile_d": 0, "threads": 0}), devices["cpu"])


def test_refusals():
    with pytest.raises(TuneError, match="attention does not take 'int8'"):
        Task("attention", (1, 1, 4, 4), "int8")
    with pytest.raises(TuneError, match="attention has no option 'casual'"):
        Task("attention", (1, 1, 4, 4), casual=True)
