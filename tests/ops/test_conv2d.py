from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from flashsched.codegen.build import build
from flashsched.errors import TuneError
from flashsched.hw import devices
from flashsched.ops import conv2d
from flashsched.ops.conv2d import ALGORITHMS, LAYOUTS, fits_winograd
from flashsched.tune.search.knobs import FirstKnobs
from flashsched.tune.task import Task


@st.composite
def tasks(draw):
    groups = draw(st.sampled_from([1, 1, 1, 2, 3, 18]))
    channels = groups * draw(st.sampled_from([0, 1, 1, 2, 3, 5]))
    filters = groups * draw(st.sampled_from([1, 1, 2, 7, 16, 17, 33] if groups < 18 else [1, 1, 2]))
    window, dilation = draw(st.sampled_from([1, 2, 3])), draw(st.sampled_from([1, 1, 2, 3]))
    stride, padding = draw(st.sampled_from([1, 1, 2, 3])), draw(st.integers(0, 2))
    height, width = draw(st.sampled_from([1, 4, 7, 9])), draw(st.sampled_from([1, 5, 8, 13]))
    reach = dilation * (window - 1) + 1
    assume(min(height, width) + 2 * padding >= reach)
    shape = draw(st.sampled_from([0, 1, 2])), channels, height, width, filters, window, stride, padding
    dtype = draw(st.sampled_from(conv2d.dtypes))
    layout = draw(st.sampled_from(["NCHW", "NHWC"]))
    return Task("conv2d", shape, dtype, groups=groups, dilation=dilation, bias=draw(st.booleans()), layout=layout)


@settings(max_examples=60, deadline=None)
@given(task=tasks(), seed=st.integers(0, 1 << 16))
@example(task=Task("conv2d", (1, 3, 9, 13, 33, 3, 1, 1)), seed=0)
@example(task=Task("conv2d", (2, 3, 8, 13, 32, 3, 2, 0), "bfloat16", bias=True), seed=3)
@example(task=Task("conv2d", (1, 33, 7, 9, 33, 3, 1, 1), groups=33, layout="NHWC"), seed=1)
@example(task=Task("conv2d", (1, 5, 9, 37, 5, 3, 2, 1), groups=5), seed=2)
def test_any_knobs_compute_what_numpy_computes(assert_right, task, seed):
    assert_right(task, seed)


@pytest.mark.parametrize("dtype", conv2d.dtypes)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_default_knobs_are_feasible_and_right(assert_right, dtype, layout):
    assert assert_right(Task("conv2d", (1, 5, 11, 13, 37, 3, 1, 1), dtype, layout=layout))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("shape", "groups"),
    [
        ((1, 33, 9, 21, 33, 3, 1, 1), 33),  # depthwise, the pad read from the image itself
        ((2, 33, 9, 21, 33, 3, 2, 1), 33),
        ((1, 34, 7, 7, 34, 5, 1, 2), 34),
        ((1, 17, 9, 9, 34, 3, 1, 1), 17),  # two filters for each channel
        ((1, 6, 9, 21, 48, 3, 1, 1), 2),  # 24 filters in a group: a vector and a half
        ((1, 8, 9, 9, 8, 3, 1, 1), 2),
        ((1, 40, 14, 14, 70, 1, 1, 0), 1),
        ((1, 40, 14, 14, 33, 1, 2, 0), 1),
        ((1, 64, 7, 7, 40, 3, 1, 1), 1),  # a panel of weights for all rows
        ((1, 3, 40, 40, 18, 7, 2, 3), 1),
    ],
)
def test_layers_of_known_networks(assert_right, shape, groups, layout):
    assert assert_right(Task("conv2d", shape, groups=groups, layout=layout, bias=groups == 1))


@settings(max_examples=25, deadline=None)
@given(
    filters=st.integers(1, 40), panel=st.sampled_from([1, 7, 16, 32, 48]), window=st.sampled_from([1, 3]),
    stride=st.sampled_from([1, 2]), layout=st.sampled_from(LAYOUTS), algorithm=st.sampled_from(sorted(ALGORITHMS)),
    dtype=st.sampled_from(conv2d.dtypes), seed=st.integers(0, 99),
)  # fmt: skip
def test_packed_filters_with_any_knobs(assert_right, filters, panel, window, stride, layout, algorithm, dtype, seed):
    if not fits_winograd(window, stride, 1, 1, layout, dtype):
        algorithm = "direct"
    shape = (1, 5, 9, 13, filters, window, stride, 1, panel)
    assert_right(Task("packed_conv2d", shape, dtype, layout=layout, algorithm=algorithm, bias=seed % 2 == 0), seed)


def test_a_panel_has_filters():
    with pytest.raises(TuneError, match="a panel has from 1 filter up, not 0"):
        Task("packed_conv2d", (1, 5, 9, 13, 8, 3, 1, 1, 0))


def test_layouts_are_the_same_convolution():
    task = Task("conv2d", (1, 6, 7, 8, 4, 3, 2, 1), groups=2, dilation=1, bias=True, layout="NHWC")
    x, w, b = task.inputs(0)
    assert [array.shape for array in (x, w)] == [(1, 7, 8, 6), (3, 3, 3, 4)]
    there = conv2d.reference(x.transpose(0, 3, 1, 2), w.transpose(3, 2, 0, 1), b, stride=2, padding=1, groups=2)
    here = conv2d.reference(x, w, b, stride=2, padding=1, groups=2, layout="NHWC")
    np.testing.assert_array_equal(here.transpose(0, 3, 1, 2), there)


@pytest.mark.parametrize("shape", [(1, 8, 20, 20, 32, 3, 1, 1), (1, 3, 20, 20, 64, 7, 2, 3)])
def test_no_tile_is_scattered_or_gathered(shape):
    """Tiles go into an image, and weights into panels, by shuffles."""
    candidate = Task("conv2d", shape).candidate(FirstKnobs(), devices["cpu"])
    text = build(candidate.schedule, candidate.args).llvm_ir()
    assert "scatter" not in text
    assert "gather" not in text


def test_the_reference_is_the_definition_element_by_element():
    task = Task("conv2d", (2, 4, 6, 5, 6, 3, 2, 1), groups=2, dilation=1, bias=True)
    x, w, b = task.inputs(0)
    padded = np.pad(x.astype(np.float64), [(0, 0), (0, 0), (1, 1), (1, 1)])
    out = conv2d.reference(x, w, b, stride=2, padding=1, groups=2)
    assert out.shape == task.args()[-1].shape == (2, 6, 3, 3)
    for n, o, h, v in np.ndindex(out.shape):
        part = padded[n, (o // 3) * 2 : (o // 3) * 2 + 2, 2 * h : 2 * h + 3, 2 * v : 2 * v + 3]
        assert out[n, o, h, v] == pytest.approx((part * w[o]).sum() + b[o])


@pytest.mark.parametrize(
    ("shape", "options", "says"),
    [
        ((1, 3, 4, 4, 8, 3, 0, 1), {}, "stride, dilation, groups and KH must be at least 1, got 0, 1, 1, 3"),
        ((1, 3, 4, 4, 8, 0, 1, 1), {}, "must be at least 1, got 1, 1, 1, 0"),
        ((1, 3, 4, 4, 8, 3, 1, 1), {"groups": 2}, "groups=2 must divide C=3 and O=8"),
        ((1, 3, 4, 4, 8, 7, 1, 1), {}, "a kernel that reaches 7 is larger than the padded image"),
        ((1, 3, 4, 4, 8, 3, 1, 1), {"dilation": 3}, "a kernel that reaches 7 is larger"),
        ((1, 3, 4, 4, 8, 3, 1, 1), {"layout": "NWHC"}, "no layout 'NWHC'"),
        ((1, 3, 4, 4, 8, 3, 1), {}, r"takes a shape of 8 numbers \(N,C,H,W,O,KH,stride,padding\), and got 7"),
    ],
)
def test_refusals(shape, options, says):
    with pytest.raises(TuneError, match=says):
        Task("conv2d", shape, **options)
