"""topi's operators compute what NumPy does, under the schedules that topi gives them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from flashsched.compat import tvm
from flashsched.compat.tvm import te, topi
from flashsched.errors import ShapeError

RNG = np.random.default_rng(0)
A = RNG.standard_normal((3, 5, 7)).astype("float32")
B = RNG.standard_normal((5, 1)).astype("float32")
IMAGE = RNG.standard_normal((2, 6, 9, 9)).astype("float32")


def run(define: Callable[..., Any], *arrays: Any, schedule: Any = topi.generic.schedule_injective) -> Any:
    """What *define* makes of placeholders like *arrays*, built and called with them."""
    inputs = [te.placeholder(x.shape, str(x.dtype), name=f"in{n}") for n, x in enumerate(arrays)]
    out = define(*inputs)
    with tvm.target.Target("llvm"):
        s = schedule(out)
    result = tvm.nd.empty(out.shape, out.dtype)
    tvm.build(s, [*inputs, out])(*map(tvm.nd.array, arrays), result)
    return result.numpy()


def check(got: Any, wanted: Any, rtol: float = 1e-5) -> None:
    tvm.testing.assert_allclose(got, wanted, rtol=rtol, atol=1e-5)


@pytest.mark.parametrize(
    ("define", "wanted"),
    [
        (lambda a, b: a + b, A + B),
        (lambda a, b: 2 - a * b, 2 - A * B),
        (lambda a, b: topi.maximum(a, b), np.maximum(A, B)),
        (lambda a, b: topi.divide(a, b), A / B),
        (lambda a, b: topi.power(topi.abs(a), b), np.abs(A) ** B),
        (lambda a, b: topi.where(topi.greater(a, b), a, b), np.where(A > B, A, B)),
        (lambda a, b: topi.broadcast_to(b, (3, 5, 7)) + a * 0, np.broadcast_to(B, A.shape)),
    ],
)
def test_broadcast(define: Any, wanted: Any) -> None:
    check(run(define, A, B), wanted, 1e-4)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("exp", np.exp(A)), ("tanh", np.tanh(A)), ("sigmoid", 1 / (1 + np.exp(-A))), ("floor", np.floor(A)),
        ("ceil", np.ceil(A)), ("abs", np.abs(A)), ("negative", -A), ("sign", np.sign(A)), ("atan", np.arctan(A)),
        ("sin", np.sin(A)), ("trunc", np.trunc(A)), ("isnan", np.isnan(A)), ("identity", A),
    ],
)  # fmt: skip
def test_functions(name: str, wanted: Any) -> None:
    check(run(getattr(topi, name), A), wanted)


def test_round_takes_halves_away_from_zero() -> None:
    x = np.array([-2.5, -0.5, 0.49999997, 0.5, 1.5, 2.5], "float32")
    np.testing.assert_array_equal(run(topi.round, x), [-3, -1, 0, 1, 2, 3])


@pytest.mark.parametrize("axis", [None, 0, -1, (0, 2)])
@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize(
    ("name", "oracle"),
    [("sum", np.sum), ("max", np.max), ("min", np.min), ("prod", np.prod), ("mean", np.mean), ("variance", np.var)],
)
def test_reductions(name: str, oracle: Any, axis: Any, keepdims: bool) -> None:
    check(run(lambda a: getattr(topi, name)(a, axis, keepdims), A), oracle(A, axis=axis, keepdims=keepdims), 1e-4)


@pytest.mark.parametrize("axis", [None, 0, 1, -1])
def test_argmax_is_int32_and_takes_the_first(axis: Any) -> None:
    ties = np.round(A)
    for name, oracle in (("argmax", np.argmax), ("argmin", np.argmin)):
        found = run(lambda a, name=name: getattr(topi, name)(a, axis), ties)
        assert found.dtype == np.int32
        np.testing.assert_array_equal(found, oracle(ties, axis=axis))


def test_all_and_any() -> None:
    x = A > 0
    np.testing.assert_array_equal(run(lambda a: topi.all(a, 1), x), x.all(1))
    np.testing.assert_array_equal(run(lambda a: topi.any(a, 1), x), x.any(1))


INDICES = np.array([0, 2, 9, -1], "int32")


@pytest.mark.parametrize(
    ("define", "wanted"),
    [
        (lambda a: topi.transpose(a), A.T),
        (lambda a: topi.transpose(a, (2, 0, 1)), A.transpose(2, 0, 1)),
        (lambda a: topi.reshape(a, (5, -1)), A.reshape(5, -1)),
        (lambda a: topi.expand_dims(a, -1), A[..., None]),
        (lambda a: topi.squeeze(topi.expand_dims(a, 1)), A),
        (lambda a: topi.concatenate((a, a * 2, a), 1), np.concatenate((A, A * 2, A), 1)),
        (lambda a: topi.stack([a, a], 1), np.stack([A, A], 1)),
        (lambda a: topi.split(a, [2, 3], axis=1)[2], np.split(A, [2, 3], axis=1)[2]),
        (lambda a: topi.strided_slice(a, [0, 1, 6], [3, 5, 0], [2, 1, -2]), A[0:3:2, 1:5, 6:0:-2]),
        (lambda a: topi.tile(a, (2, 1, 3)), np.tile(A, (2, 1, 3))),
        (lambda a: topi.repeat(a, 3, 1), np.repeat(A, 3, 1)),
        (lambda a: topi.flip(a, 2), np.flip(A, 2)),
        (lambda a: topi.layout_transform(topi.expand_dims(a, 0), "NCHW", "NHWC"), A[None].transpose(0, 2, 3, 1)),
        (lambda a: topi.clip(a, -0.5, 0.25), A.clip(-0.5, 0.25)),
        (lambda a: topi.cast(a, "int32"), A.astype("int32")),
        (lambda a: topi.full_like(a, 3.0), np.full_like(A, 3)),
        (lambda a: topi.nn.relu(a), np.maximum(A, 0)),
        (lambda a: topi.nn.leaky_relu(a, 0.1), np.where(A > 0, A, 0.1 * A)),
        (lambda a: topi.nn.pad(a, (0, 1, 2), (0, 0, 1), 7.0), np.pad(A, ((0, 0), (1, 0), (2, 1)), constant_values=7)),
        (lambda a: topi.nn.flatten(a), A.reshape(3, -1)),
    ],
)
def test_moves(define: Any, wanted: Any) -> None:
    check(run(define, A), wanted)


def test_take_and_one_hot() -> None:
    check(run(lambda a, i: topi.take(a, i, 0), A, INDICES), A.take(INDICES, 0, mode="clip"))
    check(run(lambda a, i: topi.take(a, i, 1, mode="wrap"), A, INDICES), A.take(INDICES, 1, mode="wrap"))
    hot = run(lambda i: topi.one_hot(i, 1, 0, 4, -1, "float32"), INDICES)
    check(hot, (INDICES[:, None] == np.arange(4)).astype("float32"))
    check(run(lambda i: topi.arange(2, 10, 3, "int32") + i, np.zeros(3, "int32")), np.arange(2, 10, 3))


@pytest.mark.parametrize("axis", [-1, 1])
def test_softmax(axis: int) -> None:
    wanted = topi.testing.softmax_python(A, axis)
    check(run(lambda a: topi.nn.softmax(a, axis), A, schedule=topi.x86.schedule_softmax), wanted)
    check(run(lambda a: topi.nn.log_softmax(a, axis), A), np.log(wanted))


@pytest.mark.parametrize(("stride", "padding"), [(1, 0), (2, 1), (1, "SAME"), ((1, 2), (2, 1)), (1, (0, 1, 2, 3))])
def test_conv2d(stride: Any, padding: Any) -> None:
    weight = RNG.standard_normal((4, 6, 3, 3)).astype("float32")
    wanted = topi.testing.conv2d_nchw_python(IMAGE, weight, stride, padding)
    schedule = topi.generic.schedule_conv2d_nchw
    check(run(lambda x, w: topi.nn.conv2d_nchw(x, w, stride, padding), IMAGE, weight, schedule=schedule), wanted, 1e-4)
    nhwc, hwio = IMAGE.transpose(0, 2, 3, 1).copy(), weight.transpose(2, 3, 1, 0).copy()
    found = run(lambda x, w: topi.nn.conv2d(x, w, stride, padding, data_layout="NHWC"), nhwc, hwio, schedule=schedule)
    check(found.transpose(0, 3, 1, 2), wanted, 1e-4)


def test_groups_and_depthwise() -> None:
    weight = RNG.standard_normal((6, 2, 3, 3)).astype("float32")
    found = run(lambda x, w: topi.nn.depthwise_conv2d_nchw(x, w, 1, 1), IMAGE, weight)
    one = [
        topi.testing.conv2d_nchw_python(IMAGE[:, c : c + 1], weight[c : c + 1].transpose(1, 0, 2, 3), 1, 1)
        for c in range(6)
    ]
    check(found, np.concatenate(one, 1), 1e-4)
    weight = RNG.standard_normal((4, 3, 3, 3)).astype("float32")
    found = run(lambda x, w: topi.nn.group_conv2d_nchw(x, w, 1, 1, 1, 2), IMAGE, weight)
    half = [topi.testing.conv2d_nchw_python(IMAGE[:, 3 * g :][:, :3], weight[2 * g :][:2], 1, 1) for g in range(2)]
    check(found, np.concatenate(half, 1), 1e-4)


def test_pooling() -> None:
    blocks = IMAGE[:, :, :8, :8].reshape(2, 6, 4, 2, 4, 2)
    check(run(lambda x: topi.nn.pool2d(x, 2, 2, 1, 0, "max"), IMAGE), blocks.max((3, 5)))
    check(run(lambda x: topi.nn.pool2d(x, 2, 2, 1, 0, "avg"), IMAGE), blocks.mean((3, 5)))
    check(run(lambda x: topi.nn.global_pool(x, "avg"), IMAGE), IMAGE.mean((2, 3), keepdims=True))
    kept = run(lambda x: topi.nn.pool2d(x, 3, 2, 1, 1, "avg", count_include_pad=False), IMAGE)
    check(kept[:, :, 0, 0], IMAGE[:, :, :2, :2].mean((2, 3)))
    check(run(lambda x: topi.nn.pool2d(x, 3, 2, 1, 1, "max"), IMAGE)[:, :, 0, 0], IMAGE[:, :, :2, :2].max((2, 3)))


def pooled(x: Any, kernel: int, stride: int, before: int, after: int, mean: bool, pads: bool) -> Any:
    """Windows of the last two dimensions, those that reach beyond the padding among them."""
    size = -(-(x.shape[2] + before + after - kernel) // stride) + 1
    found = np.zeros((*x.shape[:2], size, size))
    for row, col in np.ndindex(size, size):
        (a, b), (c, d) = (
            (max(at * stride - before, 0), min(at * stride - before + kernel, x.shape[2])) for at in (row, col)
        )
        part = x[:, :, a:b, c:d]
        counted = [min(at * stride + kernel, x.shape[2] + before + after) - at * stride for at in (row, col)]
        count = counted[0] * counted[1] if pads else (b - a) * (d - c)
        found[:, :, row, col] = part.sum((2, 3)) / count if mean else part.max((2, 3))
    return found


@pytest.mark.parametrize("pads", [True, False])
@pytest.mark.parametrize("kind", ["max", "avg"])
@pytest.mark.parametrize("padding", [0, 1, (1, 1, 0, 0)])
def test_windows_beyond_the_padding_and_other_layouts(kind: str, padding: Any, pads: bool) -> None:
    image = IMAGE[:, :, :8, :8]
    first, last = (1, 0) if isinstance(padding, tuple) else (padding, padding)
    wanted = pooled(image, 3, 2, first, last, kind == "avg", pads)
    check(run(lambda x: topi.nn.pool2d(x, 3, 2, 1, padding, kind, True, "NCHW", pads), image), wanted)
    found = run(
        lambda x: topi.nn.pool2d(x, 3, 2, 1, padding, kind, True, "NHWC", pads), image.transpose(0, 2, 3, 1).copy()
    )
    check(found.transpose(0, 3, 1, 2), wanted)


def test_a_channel_as_a_whole_in_either_layout() -> None:
    found = run(lambda x: topi.nn.global_pool(x, "max", layout="NHWC"), IMAGE.transpose(0, 2, 3, 1).copy())
    check(found, IMAGE.max((2, 3))[:, None, None, :])
    with pytest.raises(NotImplementedError, match=r"pool2d\('max', layout='NCHW16c'\) is not there"):
        topi.nn.pool2d(te.placeholder((1, 1, 4, 4, 16)), 2, 2, 1, 0, "max", layout="NCHW16c")


@pytest.mark.parametrize("axis", [1, -1])
@pytest.mark.parametrize("training", [False, True])
def test_batch_norm(axis: int, training: bool) -> None:
    channels = IMAGE.shape[axis]
    gamma, beta, mean, var = RNG.uniform(0.5, 2, (4, channels)).astype("float32")
    shape = [channels if n == axis % 4 else 1 for n in range(4)]
    others = tuple(n for n in range(4) if n != axis % 4)
    used = (IMAGE.mean(others), IMAGE.var(others)) if training else (mean, var)
    m, v, g, b = (part.reshape(shape) for part in (*used, gamma, beta))
    wanted = [(IMAGE - m) / np.sqrt(v + 1e-3) * g + b, mean, var]
    if training:
        wanted[1:] = [0.9 * old + 0.1 * new for old, new in zip((mean, var), used, strict=True)]
    for place in range(3 if training else 1):
        found = run(
            lambda *args, place=place: topi.nn.batch_norm(*args, axis=axis, epsilon=1e-3, training=training)[place],
            *(IMAGE, gamma, beta, mean, var),
        )
        check(found, wanted[place], 1e-4)
    plain = run(lambda *args: topi.nn.batch_norm(*args, center=False, scale=False)[0], *_batch(6))
    data, _, _, mean, var = _batch(6)
    check(plain, (data - mean[:, None, None]) / np.sqrt(var[:, None, None] + 1e-5), 1e-4)


def _batch(channels: int) -> list[Any]:
    return [IMAGE, *np.linspace(0.5, 2, 4 * channels).astype("float32").reshape(4, channels)]


@pytest.mark.parametrize("axis", [[2], [1, 2], -1])
def test_layer_norm_and_rms_norm(axis: Any) -> None:
    over = tuple(n % 3 for n in (axis if isinstance(axis, list) else [axis]))
    gamma, beta = (RNG.uniform(0.5, 2, [A.shape[n] for n in over]).astype("float32") for _ in range(2))
    mean, var = A.mean(over, keepdims=True), A.var(over, keepdims=True)
    wanted = (A - mean) / np.sqrt(var + 1e-5)
    check(run(lambda x, g, b: topi.nn.layer_norm(x, g, b, axis), A, gamma, beta), wanted * gamma + beta, 1e-4)
    check(run(lambda x, g: topi.nn.layer_norm(x, g, None, axis), A, gamma), wanted * gamma, 1e-4)
    squares = np.sqrt((A * A).mean(over, keepdims=True) + 1e-5)
    check(run(lambda x, g: topi.nn.rms_norm(x, g, axis), A, gamma), A / squares * gamma, 1e-4)
    half = A.astype("float16")
    found = run(
        lambda x, g, b: topi.nn.layer_norm(x, g, b, axis), half, gamma.astype("float16"), beta.astype("float16")
    )
    assert found.dtype == np.float16
    np.testing.assert_allclose(found.astype("float32"), wanted * gamma + beta, rtol=0, atol=1e-2)
    with pytest.raises(ShapeError, match=r"layer_norm: g has shape \[4\], and must have \[7\]"):
        topi.nn.layer_norm(te.placeholder((5, 7)), te.placeholder((4,), name="g"), None, -1)


@pytest.mark.parametrize("axes", [0, 1, 2, ([1, 2], [1, 0]), (2, 0), ([0], [2]), ([-1, 0], [0, 2])])
def test_tensordot(axes: Any) -> None:
    a = RNG.standard_normal((3, 5, 7)).astype("float32")
    b = RNG.standard_normal({0: (2, 3), 1: (7, 2), 2: (5, 7, 2)}.get(axes if isinstance(axes, int) else -1, (7, 5, 3)))
    b = b.astype("float32")
    check(run(lambda x, y: topi.tensordot(x, y, axes), a, b), np.tensordot(a, b, axes), 1e-4)
    with pytest.raises(ShapeError, match="they do not fit"):
        topi.tensordot(te.placeholder((3, 4)), te.placeholder((5, 6)), 1)


def test_products() -> None:
    x, w = RNG.standard_normal((8, 16)).astype("float32"), RNG.standard_normal((12, 16)).astype("float32")
    bias = RNG.standard_normal(12).astype("float32")
    found = run(lambda x, w, b: topi.nn.relu(topi.nn.dense(x, w, b)), x, w, bias, schedule=topi.x86.schedule_dense)
    check(found, np.maximum(x @ w.T + bias, 0), 1e-4)
    check(run(lambda x, w: topi.matmul(x, w, transpose_a=True), x, x), x.T @ x, 1e-4)
    batch = RNG.standard_normal((2, 8, 16)).astype("float32")
    check(run(lambda g: topi.nn.batch_matmul(g, g), batch), batch @ batch.transpose(0, 2, 1), 1e-4)
    check(run(lambda x, b: topi.nn.bias_add(x, b), w.T.copy(), bias), w.T + bias)


def test_shapes_that_do_not_fit_are_refused() -> None:
    a, b = te.placeholder((3, 4)), te.placeholder((2, 4))
    with pytest.raises(ShapeError, match="do not broadcast together"):
        a + b
    with pytest.raises(ShapeError, match="12 elements do not fit"):
        topi.reshape(a, (5, -1))
    with pytest.raises(ShapeError, match="matmul of"):
        topi.matmul(a, b)


def test_const_tuple() -> None:
    assert topi.utils.get_const_tuple(te.placeholder((3, 4)).shape) == (3, 4)
    with pytest.raises(ShapeError, match="no constant integer"):
        topi.utils.get_const_int(te.placeholder((), name="A")())
