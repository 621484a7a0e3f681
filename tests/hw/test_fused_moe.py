"""The model of Triton's fused mixture-of-experts product: what it must never say, and what any GPU would choose."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashsched.hw.operators.fused_moe import CONFIG, CONSTANTS, SHAPE, moe_seconds
from flashsched.hw.registry import devices

VALUES = {name: one.default for name, one in CONSTANTS.items()}
SPACE = np.array(
    list(itertools.product((16, 32, 64, 128), (32, 64, 128, 256), (32, 64, 128), (1, 16), (4, 8), (2, 3, 4))), float
)
GPUS = ("a100-sim", "a40-sim", "h800-sim", "l40-sim", "rtx-pro-6000-blackwell-se-sim")


def seconds(gpu: str, *shape: float) -> np.ndarray:
    assert (len(shape), SPACE.shape[1]) == (len(SHAPE), len(CONFIG))
    return moe_seconds(devices[gpu], np.array([shape], float), SPACE, VALUES)[0]


@settings(max_examples=15)
@given(
    st.sampled_from(GPUS), st.integers(1, 4096), st.sampled_from([8, 60, 128]), st.integers(1, 8),
    st.sampled_from([1024, 3584]), st.sampled_from([512, 1408]),
)  # fmt: skip
def test_it_grows_with_the_sizes_and_never_beats_the_peak(
    gpu: str, tokens: int, experts: int, topk: int, hidden: int, inter: int
) -> None:
    times = seconds(gpu, tokens, experts, topk, hidden, inter)
    fits = np.isfinite(times)
    assert fits.any()
    assert (seconds(gpu, tokens, experts, topk, 2 * hidden, inter)[fits] >= times[fits]).all()
    assert (seconds(gpu, tokens, experts, topk, hidden, 2 * inter)[fits] >= times[fits]).all()
    assert seconds(gpu, 2 * tokens, experts, topk, hidden, inter).min() >= 0.99 * times.min()
    assert times.min() >= 2.0 * tokens * topk * 2 * inter * hidden / devices[gpu].peak("bfloat16")


@pytest.mark.parametrize("gpu", GPUS)
def test_the_tile_is_as_high_as_an_experts_rows(gpu: str) -> None:
    one, many = (SPACE[seconds(gpu, tokens, 64, 8, 2048, 1408).argmin()] for tokens in (8, 4096))
    assert one[0] <= 32  # one row an expert
    assert many[0] >= 64  # 512
    assert many[0] * many[1] >= 4 * one[0] * one[1]


@pytest.mark.parametrize("gpu", GPUS)
def test_what_does_not_fit_takes_for_ever(gpu: str) -> None:
    spec = devices[gpu]
    assert spec.gpu is not None
    rows, columns, depth, _, _, stages = SPACE.T
    too_large = (rows + columns) * depth * 2 * (stages - 1) > spec.gpu.shared_bytes_per_block
    assert too_large.any()
    assert np.isinf(seconds(gpu, 64, 64, 8, 2048, 1408)[too_large]).all()
