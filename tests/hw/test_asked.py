"""Sizes that an estimate is asked for: what is refused, and what an operation with nothing to compute takes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from flashsched.errors import DeviceError
from flashsched.hw import devices
from flashsched.hw.operators import OPERATORS, estimate
from flashsched.hw.operators.asked import EXTENTS, asked_sizes

GEMM = {"m": 64, "n": 64, "k": 64, "batch": 1}
CONV = {"batch": 1, "cin": 3, "hin": 8, "win": 8, "cout": 8, "kh": 3, "kw": 3, "stride_h": 1, "stride_w": 1,
        "pad_h": 1, "pad_w": 1, "pass": 0}  # fmt: skip
ATTENTION = {"batch": 1, "seqlen": 64, "kv_len": 64, "heads": 2, "kv_heads": 2, "head_dim": 64, "causal": 1}
SPECS = {"gpu": "a100-sim", "cpu": "cpu-xeon-sim", "tpu": "tpu-v4-sim"}


@pytest.mark.parametrize(
    ("op", "sizes", "says"),
    [
        ("gemm", GEMM | {"m": -1}, "gemm: the size m is -1; it must be from 0 up"),
        ("gemm", GEMM | {"m": 2.5}, "m must be a whole number below .*, got 2.5"),
        ("gemm", GEMM | {"m": "64"}, "m must be a whole number .*, got '64'"),
        ("gemm", GEMM | {"m": None}, "m must be a whole number .*, got None"),
        ("gemm", GEMM | {"m": float("nan")}, "m must be a whole number"),
        ("gemm", GEMM | {"m": 10**21}, "m must be a whole number below"),
        ("gemm", GEMM | {"m": []}, "m must be a whole number .*, or a column"),
        ("gemm", GEMM | {"m": [[1], [2]]}, "m must be a whole number .*, or a column"),
        ("gemm", GEMM | {"m": [1, 2], "n": [1, 2, 3]}, "of one length; there are 2 of m, 3 of n"),
        ("elementwise", {"m": 4, "n": 4, "function": 999}, "function is 999; it must be from 0 to"),
        ("conv2d", CONV | {"stride_h": 0}, "stride_h is 0; it must be from 1 up"),
        ("conv2d", CONV | {"kw": 11}, "kw is 11, and win with its padding has 10"),
        ("attention", ATTENTION | {"kv_len": 32}, "under a causal mask kv_len is at least seqlen"),
        ("collective", {"bytes": 8, "devices": 0, "collective": 0}, "devices is 0; it must be from 1 up"),
    ],
)
def test_a_size_that_is_none_is_refused(op: str, sizes: dict[str, Any], says: str) -> None:
    with pytest.raises(DeviceError, match=says):
        estimate(devices["a100-sim"], op, "float32", sizes)


def test_a_number_stands_for_a_column() -> None:
    found = asked_sizes("gemm", tuple(GEMM), GEMM | {"m": [1, 2], "n": 4096.0})
    assert {name: column.tolist() for name, column in found.items()} == {
        "m": [1, 2], "n": [4096, 4096], "k": [64, 64], "batch": [1, 1],
    }  # fmt: skip


@pytest.mark.parametrize(("op", "kind"), [key for key in OPERATORS if key[0] not in ("collective", "host_copy")])
def test_what_has_nothing_to_compute_takes_the_start_of_a_kernel(op: str, kind: str) -> None:
    spec, dtype = devices[SPECS[kind]], "bfloat16" if kind == "tpu" else "float32"
    usual = {**CONV, **ATTENTION, "m": 4096, "n": 4096, "k": 4096, "function": 0, "passes": 1, "batch": 16}
    sizes = {name: usual[name] for name in OPERATORS[op, kind].SIZES}
    (whole,), _ = estimate(spec, op, dtype, sizes)
    for name in set(sizes) & set(EXTENTS) - {"k"}:
        (time,), _ = estimate(spec, op, dtype, sizes | {name: 0})
        assert 0 < time <= whole
        assert time < 1e-4
        assert np.isfinite(time)


def test_a_product_without_a_reduction_writes_its_result() -> None:
    spec = devices["a100-sim"]
    (time,), _ = estimate(spec, "gemm", "float32", {"m": 32768, "n": 32768, "k": 0, "batch": 1})
    assert time > 4 * 32768**2 / spec.dram.bandwidth_bytes_per_s
