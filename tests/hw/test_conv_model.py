"""The model of convolutions: what it must say of layers whose answer is known, and how measured runs drift."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from flashsched.hw import devices
from flashsched.hw.operators import conv2d
from flashsched.hw.operators.conv2d_algorithms import NEVER
from flashsched.hw.spec import DeviceSpec
from flashsched.hw.validation.rows import read_rows

V100 = devices["v100-pcie-32gb-sim"]
VEGA = devices["vega-fe-sim"]
DEFAULTS = {name: one.default for name, one in conv2d.CONSTANTS.items()}
LAYER = {"batch": 16, "cin": 64, "hin": 56, "win": 56, "cout": 128, "kh": 3, "kw": 3, "stride_h": 1, "stride_w": 1,
         "pad_h": 1, "pad_w": 1, "pass": 0}  # fmt: skip


def layer(**sizes: int | list[int]) -> dict[str, NDArray[np.int64]]:
    columns = np.broadcast_arrays(*({**LAYER, **sizes}.values()))
    return dict(zip({**LAYER, **sizes}, (np.atleast_1d(column) for column in columns), strict=True))


def seconds(spec: DeviceSpec, dtype: str, **sizes: int | list[int]) -> list[float]:
    return list(conv2d.seconds(spec, DEFAULTS, dtype, layer(**sizes)))


def takes(spec: DeviceSpec, name: str, dtype: str = "float32", **sizes: int | list[int]) -> list[float]:
    return list(conv2d.algorithms(spec, DEFAULTS, dtype, layer(**sizes))[name])


@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_matrix_units_take_channels_by_32(dtype: str) -> None:
    one, few, full, more = seconds(devices["t4-sim"], dtype, cin=[1, 8, 32, 33], hin=224, win=224, cout=128)
    assert one == pytest.approx(few, rel=0.2)  # the bytes that are moved differ
    assert few == pytest.approx(full, rel=0.2)
    assert more > 1.3 * full


def test_plain_lanes_gain_from_fewer_channels() -> None:
    one, full = seconds(V100, "float32", cin=[1, 32], hin=224, win=224, kh=5, kw=5)
    assert full > 2 * one


def test_a_fused_winograd_block_takes_its_tiles_from_one_two_or_four_images() -> None:
    narrow, square, single = takes(
        V100, "winograd fused", cin=512, hin=[2, 8, 8], win=[16, 16, 16], batch=[128, 32, 33]
    )
    assert narrow == pytest.approx(square)  # 1 x 8 tiles of four images, 4 x 8 of one
    assert single > square


def test_amd_takes_any_filter_by_fused_winograd() -> None:
    three, five, strided = takes(
        VEGA, "winograd fused", kh=[3, 5, 5], kw=[3, 5, 5], stride_h=[1, 1, 2], stride_w=[1, 1, 2]
    )
    assert three < five < NEVER
    assert strided < five
    assert takes(V100, "winograd fused", kh=[3, 5], kw=[3, 5])[1] == NEVER


def test_halves_on_tensor_units_take_no_staged_winograd_forward_but_for_gradients() -> None:
    forward, data, weights = takes(V100, "winograd staged 3", "float16", **{"pass": [0, 1, 2]})
    assert forward == NEVER
    assert max(data, weights) < NEVER


def test_a_stride_beyond_the_filter_leaves_pixels_unread() -> None:
    sizes = layer(
        cin=1024, cout=16, kh=1, kw=1, pad_h=0, pad_w=0, hin=[56, 28], win=[56, 28], stride_h=[2, 1], stride_w=[2, 1]
    )
    strided, whole = conv2d.roofline(V100, "float32", sizes)
    assert strided == pytest.approx(whole)


def test_the_gradient_of_filters_sums_each_image_in_whole_steps() -> None:
    seven, eight = takes(
        V100, "gemm", cin=512, cout=512, kh=1, kw=1, pad_h=0, pad_w=0, hin=[7, 8], win=[7, 8], **{"pass": 2}
    )
    assert seven == pytest.approx(eight, rel=0.1)  # 49 pixels are summed as 64


def test_time_around_a_convolution_grows_over_a_run_that_drifts(tmp_path: Path) -> None:
    head = ["device", "dtype", "op", *list(LAYER)[:-1], "measured_us", "source"]
    for source, drifts in (("neusight", True), ("deepbench", False)):
        rows = [["V100-PCIE-32GB", "fp32", "conv2d", *list(LAYER.values())[:-1], 5000, source] for _ in range(4)]
        with (tmp_path / "conv.csv").open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows([head, *rows])
        (group,), _ = read_rows(tmp_path)
        times = conv2d.seconds(V100, DEFAULTS | {"drift_us": 400.0}, "float32", group.sizes)
        assert np.diff(times) == pytest.approx([100e-6 if drifts else 0.0] * 3)
        assert ("place" in group.sizes) is drifts
