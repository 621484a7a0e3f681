"""What a row of a published table asks of which model."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from flashsched.errors import DeviceError
from flashsched.hw.validation.rows import Rows, read_rows

HEAD = ["device", "backend", "dtype", "op", "shape", "measured_us", "source"]


def read(folder: Path, *rows: tuple[str, str], device: str = "A100-SXM4-80GB", backend: str = "") -> list[Rows]:
    with (folder / "rows.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([HEAD, *([device, backend, "fp32", op, shape, 100, ""] for op, shape in rows)])
    return read_rows(folder)[0]


@pytest.mark.parametrize(
    ("op", "shape", "sizes"),
    [
        ("matmul", "48x64 64x1024", {"m": 48, "k": 64, "n": 1024, "batch": 1}),
        ("matmul", "10x48x64 64x32", {"m": 480, "k": 64, "n": 32, "batch": 1}),
        ("matmul", "2x5x48x64 2x5x64x32", {"m": 48, "k": 64, "n": 32, "batch": 10}),
        ("linear", "100x8x32 32x24 24", {"m": 800, "k": 32, "n": 24, "batch": 1}),
        ("conv2d", "10x28x30x3 8x3x5x3", {"batch": 10, "cin": 3, "hin": 28, "win": 30, "cout": 8, "kh": 3, "kw": 5}),
        ("conv1d", "16x1000x80 128x11x80", {"batch": 16, "cin": 80, "hin": 1, "win": 1000, "cout": 128, "kw": 11}),
        ("softmax", "4x16x128 axis=-1", {"m": 64, "n": 128}),
        ("relu", "4x16x128", {"m": 64, "n": 128}),
    ],
)
def test_sizes_are_read_from_the_shapes_of_operands(tmp_path, op, shape, sizes):
    (group,) = read(tmp_path, (op, shape))
    assert {name: int(group.sizes[name][0]) for name in sizes} == sizes


@pytest.mark.parametrize(
    ("op", "shape"),
    [
        ("matmul", "48x64"),
        ("matmul", "48x64 32x1024"),
        ("matmul", "2x48x64 3x64x32"),
        ("conv2d", "10x28x28x3 8x3x3x4"),
        ("conv2d", "10x28x28x3 3x3x3"),
        ("relu", "many"),
        ("relu", "0x64"),
        ("matmul", "48x0 0x1024"),
    ],
)
def test_shapes_that_make_no_operation_are_left_out(tmp_path, op, shape):
    (group,) = read(tmp_path, ("relu", "8x8"), (op, shape))
    assert group.op == "relu"
    assert len(group.measured_s) == 1


def test_a_framework_s_convolution_on_a_cpu_is_no_library_s(tmp_path):
    with pytest.raises(DeviceError):
        read(tmp_path, ("conv2d", "10x28x28x3 8x3x3x3"), device="M1 Max (64GB)", backend="mlx_cpu")
    (group,) = read(tmp_path, ("conv2d", "10x28x28x3 8x3x3x3"), device="M1 Max (64GB)", backend="mps")
    assert group.spec.name == "apple-m1-max-sim"


def test_a_dot_product_reads_two_arrays(tmp_path):
    (folder := tmp_path / "a").mkdir()
    dot, total = read(folder, ("stream_dot", "1x1000000"), ("sum", "1x1000000"))
    rooflines = [
        one.model.roofline(one.spec, one.dtype, {**one.sizes, "warm": 0 * one.sizes["m"]}) for one in (dot, total)
    ]
    assert rooflines[0][0] == pytest.approx(2 * rooflines[1][0], rel=1e-3)


@pytest.mark.parametrize(
    ("backends", "arrays"),
    [
        (("mlx_gpu", "mlx_gpu_compile", "mps"), {"mlx_gpu": 8, "mlx_gpu_compile": 6, "mps": 0}),
        (("mlx_gpu", "mps"), {"mlx_gpu": 0, "mps": 0}),  # MLX before it compiled
    ],
)
def test_a_softmax_of_single_operations_says_how_many_arrays_it_moves(tmp_path, backends, arrays):
    shape = "64x16x32x1024 axis=-1"
    with (tmp_path / "rows.csv").open("w", newline="", encoding="utf-8") as stream:
        table = [
            ["M1 Max", each, "fp32", op, shape, 4000, "mlxbench"] for each in backends for op in ("softmax", "relu")
        ]
        csv.writer(stream).writerows([HEAD, *table])
    groups, _ = read_rows(tmp_path)
    softmaxes = [group for group in groups if group.op == "softmax"]
    found = [int(group.sizes["arrays"][0]) if "arrays" in group.sizes else 0 for group in softmaxes]
    assert dict(zip(backends, found, strict=True)) == arrays
    assert all("arrays" not in group.sizes for group in groups if group.op == "relu")
