from __future__ import annotations

import random
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from flashsched import te
from flashsched.codegen.build import build
from flashsched.errors import TuneError
from flashsched.hw import devices
from flashsched.ops import conv2d
from flashsched.ops.conv2d import best_algorithm
from flashsched.ops.winograd import TRANSFORMS, transformed
from flashsched.tune.measuring.verify import Reference, compare, verify
from flashsched.tune.search.knobs import FirstKnobs
from flashsched.tune.task import Task

from .conftest import feasible

ALGORITHMS = ["winograd2", "winograd4"]


@pytest.mark.parametrize("m", TRANSFORMS)
def test_the_transforms_are_exact(m):
    """In fractions, minimal filtering is the sum itself: m outputs of 3 taps, from m + 2 multiplications."""
    rng = random.Random(0)
    image = [Fraction(rng.randint(-9, 9), rng.randint(1, 9)) for _ in range(m + 2)]
    taps = [Fraction(rng.randint(-9, 9), rng.randint(1, 9)) for _ in range(3)]

    def times(matrix, vector):
        return [sum(a * b for a, b in zip(row, vector, strict=True)) for row in matrix]

    transform = TRANSFORMS[m]
    products = [a * b for a, b in zip(times(transform.image, image), times(transform.weights, taps), strict=True)]
    assert times(transform.sums, products) == [sum(image[i + k] * taps[k] for k in range(3)) for i in range(m)]


@st.composite
def tasks(draw):
    channels, filters = draw(st.sampled_from([1, 3, 5, 17, 32])), draw(st.sampled_from([1, 2, 16, 19, 37]))
    height, width, padding = draw(st.integers(1, 13)), draw(st.integers(1, 21)), draw(st.integers(0, 2))
    assume(min(height, width) + 2 * padding >= 3)
    shape = draw(st.sampled_from([0, 1, 2])), channels, height, width, filters, 3, 1, padding
    dtype = draw(st.sampled_from(["float32", "float32", "float64"]))
    return Task("conv2d", shape, dtype, algorithm=draw(st.sampled_from(ALGORITHMS)), bias=draw(st.booleans()))


def check(task: Task, seed: int | None) -> None:
    """What random knobs make of *task* (none: its defaults), against float64; an element may err by what a sum of the
    absolute values of all terms may."""
    candidate = feasible(task, seed)
    if candidate is None:
        assert seed is not None, "the default knobs must be feasible"
        return
    inputs = [np.random.default_rng(n).standard_normal(t.known_shape) for n, t in enumerate(candidate.args[:-1])]
    inputs = [array.astype(task.dtype) for array in inputs]
    got = build(candidate.schedule, candidate.args)(*inputs)
    options = {"stride": 1, "padding": task.shape[-1]}
    exact, most = conv2d.reference(*inputs, **options), conv2d.reference(*map(np.abs, inputs), **options)
    allowed = 32 * np.finfo(task.dtype).eps * most.max(initial=0)
    assert got.shape == exact.shape
    assert np.abs(got - exact).max(initial=0) <= allowed, f"{task!r} with {candidate.decisions}"


@settings(max_examples=10, deadline=None)
@given(task=tasks(), seed=st.integers(0, 1 << 16))
@example(task=Task("conv2d", (1, 17, 9, 19, 33, 3, 1, 1), algorithm="winograd4"), seed=0)
@example(task=Task("conv2d", (2, 16, 8, 18, 32, 3, 1, 0), algorithm="winograd2", bias=True), seed=1)
def test_any_knobs_compute_what_numpy_computes(task, seed):
    check(task, seed)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("shape", [(1, 16, 12, 20, 32, 3, 1, 1), (1, 0, 5, 5, 4, 3, 1, 1), (1, 2, 1, 1, 3, 3, 1, 1)])
def test_the_default_knobs_are_feasible_and_right(shape, algorithm):
    check(Task("conv2d", shape, algorithm=algorithm), None)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_verification_lets_its_rounding_pass_and_nothing_else(algorithm):
    """Before it may win, a candidate is held against float64: what is right passes, and a lost term does not."""
    task = Task("conv2d", (1, 24, 12, 20, 32, 3, 1, 1), algorithm=algorithm)
    candidate = task.candidate(FirstKnobs(), devices["cpu"])
    reference = Reference(task, seed=1)
    kernel = build(candidate.schedule, candidate.args)
    assert verify(kernel, reference).ok
    x, w = reference.inputs
    w[3, 5, 1, 1] = 0
    assert not compare(kernel(x, w), reference).ok


def test_rounding_is_as_documented():
    """F(2, 3) errs no more than the direct sum, whose sums are 9 times longer; F(4, 3) some 8 times as much."""
    errors = {}
    for algorithm in ("direct", *ALGORITHMS):
        task = Task("conv2d", (1, 64, 24, 24, 32, 3, 1, 1), algorithm=algorithm)
        candidate = task.candidate(FirstKnobs(), devices["cpu"])
        rng = np.random.default_rng(0)
        x = rng.standard_normal((1, 64, 24, 24)).astype(np.float32)
        w = rng.standard_normal((32, 64, 3, 3)).astype(np.float32)
        exact = conv2d.reference(x, w, stride=1, padding=1)
        got = build(candidate.schedule, candidate.args)(x, w)
        errors[algorithm] = np.abs(got - exact).max() / np.abs(exact).max()
    assert errors["direct"] < 1e-6
    assert errors["winograd2"] < errors["direct"]
    assert errors["winograd4"] < 16 * errors["direct"]


def test_no_tile_is_scattered_or_gathered():
    candidate = Task("conv2d", (1, 16, 16, 32, 32, 3, 1, 1), algorithm="winograd4").candidate(
        FirstKnobs(), devices["cpu"]
    )
    text = build(candidate.schedule, candidate.args).llvm_ir()
    assert "scatter" not in text
    assert "gather" not in text


def test_what_is_chosen_where_nothing_is_said():
    plain = {"stride": 1, "groups": 1, "dilation": 1, "layout": "NCHW", "dtype": "float32"}
    assert best_algorithm((1, 64, 56, 56), 64, 3, 1, **plain) == "winograd2"
    assert best_algorithm((1, 512, 7, 7), 512, 3, 1, **plain) == "direct"  # its weights would be most of the work
    assert best_algorithm((1, 3, 224, 224), 64, 3, 1, **plain) == "direct"  # its image would
    assert best_algorithm((1, 64, 56, 56), 64, 1, 0, **plain) == "direct"
    assert best_algorithm((1, 64, 56, 56), 64, 3, 1, **{**plain, "stride": 2}) == "direct"
    assert best_algorithm((1, 64, 56, 56), 64, 3, 1, **{**plain, "dtype": "float16"}) == "direct"


@pytest.mark.parametrize(
    ("shape", "options", "says"),
    [
        ((1, 3, 8, 8, 8, 5, 1, 1), {}, "winograd4 is for windows of 3 x 3.* not for KH=5"),
        ((1, 3, 8, 8, 8, 3, 2, 1), {}, "stride=2"),
        ((1, 4, 8, 8, 8, 3, 1, 1), {"groups": 2}, "groups=2"),
        ((1, 3, 8, 8, 8, 3, 1, 1), {"dilation": 2}, "dilation=2"),
        ((1, 3, 8, 8, 8, 3, 1, 1), {"layout": "NHWC"}, "NHWC"),
        ((1, 3, 8, 8, 8, 3, 1, 1), {"dtype": "float16"}, "float16"),
        ((1, 3, 8, 8, 8, 3, 1, 1), {"algorithm": "winograd3"}, "no algorithm 'winograd3'"),
    ],
)
def test_refusals(shape, options, says):
    with pytest.raises(TuneError, match=says):
        Task("conv2d", shape, **{"algorithm": "winograd4", **options})


def test_the_definition_is_for_windows_of_three():
    w = te.placeholder((4, 2, 5, 5), name="w")
    with pytest.raises(TuneError, match="a window of 5 x 5 is not 3 x 3"):
        transformed(w, 2)
