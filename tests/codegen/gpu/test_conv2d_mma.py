"""Convolutions on tensor cores: a product of two matrices, one of which is gathered from the image."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import flashsched as fs
from flashsched import te
from flashsched.codegen.analysis import nest_works, simulate
from flashsched.codegen.gpu.build import build_gpu
from flashsched.codegen.gpu.target import GpuArch
from flashsched.codegen.interpreter import interpret
from flashsched.codegen.lower import program_of
from flashsched.errors import Infeasible, TuneError
from flashsched.hw.registry import devices
from flashsched.ops import conv2d
from flashsched.ops.conv2d_gpu import conv2d_gpu
from flashsched.schedule.schedule import Schedule
from flashsched.te.dtypes import numpy_dtype
from flashsched.te.tensor import Tensor
from flashsched.testing.checks import check_round_trip
from flashsched.testing.gpu_threads import run_on_threads
from flashsched.tune.search.knobs import FirstKnobs

A100, SM80 = devices["a100-sim"], GpuArch("sm_80")
ONE_WARP = {"block_m": 32, "block_n": 32, "warp_m": 32, "warp_n": 32, "step_k": 16}
RESNET = (32, 64, 56, 56, 64, 3, 1, 1)
"""The 3 x 3 convolutions of the first stage of a ResNet-50, for 32 images."""


class Chosen(FirstKnobs):
    """The first choice but for what is named, where there is that choice."""

    def __init__(self, **values: Any) -> None:
        super().__init__()
        self._values = values

    def _pick(self, name: str, options: Any, default: int) -> int:
        return list(options).index(self._values[name]) if self._values.get(name) in options else default


def convolution(
    shape: tuple[int, ...], dtype: str = "float16", device: str = "a100-sim", knobs: Any = None, **options: Any
) -> tuple[Schedule, list[Tensor]]:
    args = conv2d.args(shape, dtype, options)
    s = te.create_schedule(args[-1])
    conv2d_gpu(s, args, Chosen() if knobs is None else Chosen(**knobs), devices[device])
    return s, args


def feeds(args: list[Tensor]) -> list[Any]:
    """Small whole numbers, so that sums are exact in any order."""
    rng = np.random.default_rng(0)
    return [rng.integers(-3, 4, t.known_shape).astype(numpy_dtype(t.dtype)) for t in args[:-1]]


def wanted(args: list[Tensor], given: list[Any], shape: tuple[int, ...], **options: Any) -> Any:
    found = conv2d.reference(*(x.astype("float32") for x in given), stride=shape[6], padding=shape[7], **options)  # type: ignore[misc]
    return found.astype(numpy_dtype(args[-1].dtype)).astype("float32")


@settings(max_examples=20, deadline=None)
@given(
    batch=st.integers(1, 3), channels=st.sampled_from([1, 2, 3, 8, 16, 17]), height=st.integers(1, 9),
    width=st.integers(1, 9), filters=st.sampled_from([1, 2, 5, 8, 16, 33]), window=st.integers(1, 3),
    stride=st.integers(1, 3), padding=st.integers(0, 2), dilation=st.integers(1, 2), bias=st.booleans(),
    layout=st.sampled_from(["NCHW", "NHWC"]), dtype=st.sampled_from(["float16", "bfloat16"]),
    stages=st.integers(1, 3), step=st.sampled_from([16, 32]), pack=st.booleans(),
)  # fmt: skip
@example(1, 16, 8, 8, 16, 3, 1, 1, 1, False, "NHWC", "float16", 2, 16, False)  # vectors of 16 bytes, whole steps
@example(2, 16, 4, 4, 16, 3, 1, 1, 1, False, "NCHW", "float16", 2, 16, True)
@example(1, 8, 4, 8, 8, 1, 1, 0, 1, True, "NCHW", "bfloat16", 1, 16, False)  # vectors of pixels
@example(1, 1, 1, 1, 1, 1, 1, 0, 1, False, "NCHW", "float16", 1, 16, False)  # no product of matrices
def test_the_schedule_means_the_convolution(
    batch: int, channels: int, height: int, width: int, filters: int, window: int, stride: int, padding: int,
    dilation: int, bias: bool, layout: str, dtype: str, stages: int, step: int, pack: bool,
) -> None:  # fmt: skip
    """As a CPU runs it, threads and lanes one after another, with sizes that no tile divides."""
    shape = (batch, channels, height, width, filters, window, stride, padding)
    options = {"bias": bias, "dilation": dilation, "layout": layout}
    knobs = {**ONE_WARP, "stages": stages, "step_k": step, "pack_weights": pack}
    try:
        s, args = convolution(shape, dtype, knobs=knobs, **options)
    except TuneError:  # the window is larger than the image
        return
    given = feeds(args)
    got = fs.build(s, args)(*given).astype("float32")
    np.testing.assert_array_equal(got, wanted(args, given, shape, **options))


THREADS: list[tuple[tuple[int, ...], str, dict[str, Any], dict[str, Any]]] = [
    ((2, 8, 4, 4, 9, 2, 1, 0), "float16", {"layout": "NHWC", "bias": True}, {"stages": 2}),
    ((2, 16, 5, 7, 8, 2, 2, 1), "bfloat16", {"layout": "NHWC"}, {"stages": 3}),
    ((1, 3, 6, 6, 5, 2, 1, 1), "float16", {"layout": "NHWC", "dilation": 2}, {"stages": 1}),
    ((2, 3, 4, 3, 9, 2, 1, 1), "bfloat16", {"bias": True}, {"stages": 1, "pack_weights": False}),
    ((1, 16, 5, 6, 8, 2, 1, 0), "float16", {}, {"stages": 2, "pack_weights": True}),
    ((3, 17, 3, 3, 9, 1, 1, 0), "float16", {}, {"stages": 2}),
]


@pytest.mark.parametrize(("shape", "dtype", "options", "chosen"), THREADS, ids=str)
def test_threads_compute_the_convolution(
    shape: tuple[int, ...], dtype: str, options: dict[str, Any], chosen: dict[str, Any]
) -> None:
    """Block by block and thread by thread, each by itself from barrier to barrier, what is copied as late as can be."""
    s, args = convolution(shape, dtype, knobs={**ONE_WARP, **chosen}, **options)
    kernel = build_gpu(s, args, SM80)
    assert "mma.sync" in kernel.ptx()
    given = feeds(args)
    right = wanted(args, given, shape, **options)
    np.testing.assert_array_equal(run_on_threads(kernel.plan, given)[0].astype("float32"), right)
    check_round_trip(s)


def test_the_interpreter_finds_no_race() -> None:
    shape = (1, 3, 4, 4, 2, 3, 1, 1)
    for layout in ("NCHW", "NHWC"):
        s, args = convolution(shape, knobs={**ONE_WARP, "stages": 2}, layout=layout)
        given = feeds(args)
        got = interpret(program_of(s, args), given)[0].astype("float32")
        np.testing.assert_array_equal(got, wanted(args, given, shape, layout=layout))


@pytest.mark.parametrize(("layout", "copies"), [("NHWC", 4 + 2), ("NCHW", 2)])
def test_the_loop_copies_vectors_and_finds_each_place_once(layout: str, copies: int, ptxas: str) -> None:
    """Four steps in the text, three of them ahead of the loop: 32 `mma` and 16 `ldmatrix` in each."""
    s, args = convolution(RESNET, layout=layout)
    kernel = build_gpu(s, args, SM80, "conv")
    text = kernel.ptx().split(".entry")[-1]
    assert text.count("mma.sync") == 4 * 32
    assert text.count("cp.async.cg.shared.global") == 4 * copies
    assert ("ld.global" in text) is (layout == "NCHW")  # a pixel of half a word is no copy of its own
    assert text.count("ldmatrix") == 4 * (2 * 4 + 2 * 4) if layout == "NHWC" else True
    assert text.count("bar.sync") <= 4
    assert len(re.findall(r"div|rem", text)) == 0
    for used in kernel.resources().values():
        assert used.registers <= 128
        assert not used.spill_store_bytes
        assert not used.stack_bytes


@pytest.mark.parametrize("arch", ["sm_90", "sm_100"])
@pytest.mark.parametrize(
    ("shape", "dtype", "options"),
    [
        ((4, 3, 65, 65, 24, 7, 2, 3), "float16", {"layout": "NHWC", "bias": True}),
        ((3, 20, 17, 19, 33, 3, 1, 1), "bfloat16", {"dilation": 2}),
        ((2, 64, 14, 14, 70, 1, 2, 0), "float16", {}),
    ],
    ids=str,
)
def test_it_assembles(arch: str, shape: tuple[int, ...], dtype: str, options: dict[str, Any], ptxas: str) -> None:
    kernel = build_gpu(*convolution(shape, dtype, **options), GpuArch(arch))
    assert "mma.sync" in kernel.ptx()
    assert "fma.rn" not in kernel.ptx()
    assert not any(used.spill_store_bytes for used in kernel.resources().values())


def test_what_follows_is_done_on_the_sums_that_a_lane_holds() -> None:
    s, args = convolution((8, 64, 14, 14, 64, 3, 1, 1), bias=True, layout="NHWC")
    assert len(nest_works(s, A100)) == 1
    assert "st.shared" not in build_gpu(s, args, SM80).ptx()


def test_float32_that_the_program_rounds() -> None:
    """tf32 is asked for by name, as in a product; plain float32 stays on plain lanes."""
    x, f = te.placeholder((2, 4, 6, 6), name="x"), te.placeholder((8, 4, 3, 3), name="f")
    c, kh, kw = (te.reduce_axis((0, n), name=name) for n, name in ((4, "c"), (3, "kh"), (3, "kw")))

    def element(n: Any, o: Any, h: Any, w: Any) -> Any:
        return te.sum(te.tf32(x[n, c, h + kh, w + kw]) * te.tf32(f[o, c, kh, kw]), axis=[c, kh, kw])

    y = te.compute((2, 8, 4, 4), element, name="y")
    s = te.create_schedule(y)
    args = [x, f, y]
    conv2d_gpu(s, args, Chosen(**ONE_WARP, stages=1), A100)
    kernel = build_gpu(s, args, SM80)
    assert "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32" in kernel.ptx()
    given = feeds(args)
    right = wanted(args, given, (0, 0, 0, 0, 0, 0, 1, 0))
    np.testing.assert_array_equal(fs.build(s, args)(*given), right)
    s, args = convolution((2, 4, 6, 6, 8, 3, 1, 0), "float32")
    assert "mma.sync" not in build_gpu(s, args, SM80).ptx()


def test_what_the_image_is_computed_of_is_gathered_too() -> None:
    x, f = te.placeholder((2, 8, 6, 6), "float16", name="x"), te.placeholder((9, 8, 3, 3), "float16", name="f")
    half = te.compute(x.shape, lambda n, c, h, w: te.maximum(x[n, c, h, w], te.const(0, "float16")), name="half")
    c, kh, kw = (te.reduce_axis((0, n), name=name) for n, name in ((8, "c"), (3, "kh"), (3, "kw")))

    def element(n: Any, o: Any, h: Any, w: Any) -> Any:
        product = half[n, c, h + kh, w + kw].astype("float32") * f[o, c, kh, kw].astype("float32")
        return te.sum(product, axis=[c, kh, kw])

    y = te.compute((2, 9, 4, 4), element, name="y")
    s = te.create_schedule(y)
    conv2d_gpu(s, [x, f, y], Chosen(**ONE_WARP), A100)
    assert "mma.sync" in build_gpu(s, [x, f, y], SM80).ptx()
    given = feeds([x, f, y])
    right = wanted([x, f, y], [np.maximum(given[0], 0), given[1]], (0, 0, 0, 0, 0, 0, 1, 0))
    np.testing.assert_array_equal(fs.build(s, [x, f, y])(*given), right)


def test_a_grid_is_no_higher_than_65535_blocks() -> None:
    with pytest.raises(Infeasible, match="100352 blocks of 32 rows, and a grid has 65535"):
        convolution((64, 8, 224, 224, 32, 3, 1, 1), knobs=ONE_WARP, layout="NHWC")
    convolution((64, 8, 224, 224, 32, 3, 1, 1), layout="NHWC")


@pytest.mark.parametrize(
    ("dtype", "device", "options"),
    [
        ("float16", "a100-sim", {"groups": 2}),
        ("float16", "a100-sim", {"groups": 2, "layout": "NHWC"}),
        ("float32", "a100-sim", {"layout": "NHWC"}),
        ("float16", "p100-sim", {"layout": "NHWC"}),
        ("float64", "v100-sim", {}),
    ],
)
def test_what_is_no_product_there_is_computed_by_plain_lanes(dtype: str, device: str, options: dict[str, Any]) -> None:
    shape = (1, 4, 6, 7, 6, 3, 1, 1)
    s, args = convolution(shape, dtype, device, **options)
    assert "tensorize" not in str(s)
    assert "blockIdx" in str(s)
    given = feeds(args)
    np.testing.assert_array_equal(fs.build(s, args)(*given).astype("float32"), wanted(args, given, shape, **options))


def test_the_tuner_takes_tensor_cores_where_they_are_faster() -> None:
    """By the model, which nobody has held against a GPU for these kernels: 16 halves a multiply-add apart."""
    task = fs.Task("conv2d", RESNET, dtype="float16")
    found = fs.tune(task, device="a100-sim", trials=6, seed=0)
    assert found.best.trace["decisions"]["tensor_cores"] == 1
    assert found.best.status == "correct"  # run against the reference, on a small shape
    plain, _ = convolution(RESNET, knobs={"tensor_cores": False})
    lanes, best = simulate(plain, A100).time_s, min(found.best.times_s)
    library = fs.simulate(task, device="a100-sim").time_s
    assert best < lanes / 4
    assert library / 2 < best < 2 * library
