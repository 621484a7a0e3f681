"""``fs.matmul`` and its like, as a person calls them on arrays."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

import flashsched as fs
from flashsched.errors import KernelError
from flashsched.functions import kernels

from .arrays import RNG, normal


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", ml_dtypes.bfloat16])
def test_matmul(dtype):
    a, b = normal(33, 40, dtype=dtype), normal(40, 20, dtype=dtype)
    out = fs.matmul(a, b)
    assert out.dtype == a.dtype
    exact = a.astype(np.float64) @ b.astype(np.float64)
    tolerance = {"float32": 1e-5, "float64": 1e-13, "float16": 2e-3}.get(str(out.dtype), 1.6e-2)
    np.testing.assert_allclose(out.astype(np.float64), exact, rtol=tolerance, atol=10 * tolerance)


def test_matmul_of_int8_gives_int32():
    a, b = RNG.integers(-128, 128, (5, 70), "int8"), RNG.integers(-128, 128, (70, 6), "int8")
    out = fs.matmul(a, b)
    assert out.dtype == np.int32
    np.testing.assert_array_equal(out, a.astype(np.int32) @ b)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((7,), (7, 5)), ((4, 7), (7,)), ((7,), (7,)), ((2, 3, 7), (7, 5)), ((2, 3, 7), (7,)), ((6, 3, 7), (6, 7, 5)),
        ((2, 1, 3, 7), (4, 7, 5)), ((7,), (4, 7, 5)), ((0, 3, 7), (0, 7, 5)), ((1, 3, 7), (4, 7, 5)),
    ],
)  # fmt: skip
def test_matmul_has_the_shapes_of_numpy(left, right):
    a, b = normal(*left), normal(*right)
    expected = a @ b
    found = fs.matmul(a, b)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    out = np.empty(expected.shape, "float32")
    assert fs.matmul(a, b, out=out) is out
    np.testing.assert_array_equal(out, found)


@pytest.mark.parametrize(("turn_a", "turn_b"), [(True, False), (False, True), (True, True)])
@pytest.mark.parametrize("batch", [(), (3,)])
def test_a_transposed_matrix_is_read_as_it_lies(turn_a, turn_b, batch):
    a = normal(*batch, 40, 33).swapaxes(-1, -2) if turn_a else normal(*batch, 33, 40)
    b = normal(*batch, 20, 40).swapaxes(-1, -2) if turn_b else normal(*batch, 40, 20)
    for _ in range(2):
        np.testing.assert_allclose(fs.matmul(a, b), a @ b, rtol=1e-5, atol=1e-5)


def test_a_kernel_is_found_by_how_the_arrays_lie():
    a, b = normal(33, 33), normal(33, 33)
    for x, y in ((a, b), (a.T, b), (a, b.T), (a[::-1], b), (a, b), (a.T, b.T)):
        np.testing.assert_allclose(fs.matmul(x, y), x @ y, rtol=1e-5, atol=1e-5)


def test_a_kernel_that_is_remembered_refuses_nothing_by_itself():
    a, b = normal(12, 9), normal(9, 10)
    fs.matmul(a, b)
    for dtype in ("float64", "float32", "float16"):
        x, y = a.astype(dtype), b.astype(dtype)
        found = fs.matmul(x, y, out=np.empty((12, 10), dtype))
        np.testing.assert_allclose(found, (x.astype("float64") @ y.astype("float64")), rtol=1e-2, atol=1e-2)
    with pytest.raises(KernelError, match="a is float32 and b is float64"):
        fs.matmul(a, b.astype("float64"))
    with pytest.raises(KernelError, match=r"C.* has shape \(10, 12\)"):
        fs.matmul(a, b, out=np.empty((10, 12), "float32"))
    np.testing.assert_allclose(fs.matmul(a, b, normal(10) * 0), a @ b, rtol=1e-5, atol=1e-5)
    fs.functions.clear_kernels()
    np.testing.assert_allclose(fs.matmul(a, b), a @ b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int8"])
@pytest.mark.parametrize("shape", [(1, 40, 20), (33, 40, 70), (5, 1, 1), (3, 0, 4), (3, 4, 0)])
def test_prepack(shape, dtype):
    m, k, n = shape
    a, b = (normal(m, k) * 4).astype(dtype), (normal(k, n) * 4).astype(dtype)
    packed = fs.prepack(b, rows=m)
    assert packed.shape == (k, n)
    plain = fs.matmul(a, b)
    np.testing.assert_allclose(fs.matmul(a, packed), plain, rtol=1e-2 if dtype == "float16" else 1e-5, atol=1e-5)
    stack = np.stack([a, a])
    out = np.empty((2, m, n), plain.dtype)
    assert fs.matmul(stack, packed, out=out) is out
    np.testing.assert_allclose(out[1], plain, rtol=1e-2 if dtype == "float16" else 1e-5, atol=1e-5)


def test_a_packed_product_is_found_again() -> None:
    a, b, bias = normal(6, 5), normal(5, 7), normal(7)
    packed, other = fs.prepack(b), fs.prepack(2 * b)
    out = np.empty((6, 7), "float32")
    for _ in range(2):  # made, and found again
        np.testing.assert_allclose(fs.matmul(a, packed), a @ b, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(fs.matmul(a, other), 2 * a @ b, rtol=1e-5, atol=1e-5)
        assert fs.matmul(a, packed, bias, out=out) is out
        np.testing.assert_allclose(out, a @ b + bias, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(
            fs.matmul(a.reshape(2, 3, 5), packed, bias), (a @ b + bias).reshape(2, 3, 7), 1e-5, 1e-5
        )
    far = np.asfortranarray(a)  # of the same shape, and not what that kernel takes
    np.testing.assert_allclose(fs.matmul(far, packed), a @ b, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(fs.matmul(far, packed, bias, out=out), a @ b + bias, rtol=1e-5, atol=1e-5)
    with pytest.raises(KernelError, match="bias"):
        fs.matmul(a, packed, bias[:3])
    with pytest.raises(KernelError):
        fs.matmul(a.astype("float64"), packed)


def test_prepack_with_an_epilogue():
    a, b, bias = normal(9, 40), normal(40, 37), normal(37)
    found = fs.matmul(a, fs.prepack(b), bias, "relu")
    np.testing.assert_allclose(found, np.maximum(a @ b + bias, 0), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("algorithm", ["auto", "direct", "winograd2", "winograd4"])
@pytest.mark.parametrize(("filters", "window", "stride"), [(37, 3, 1), (37, 3, 2), (5, 1, 1), (16, 5, 1)])
def test_prepack_of_filters(layout, algorithm, filters, window, stride):
    x, w, bias = normal(2, 17, 9, 11), normal(filters, 17, window, window), normal(filters)
    expected = fs.ops.conv2d.reference(x, w, bias, stride=stride, padding=1)
    if layout == "NHWC":
        x, w, expected = x.transpose(0, 2, 3, 1).copy(), w.transpose(2, 3, 1, 0).copy(), expected.transpose(0, 2, 3, 1)
    fits = window == 3 and stride == 1 and layout == "NCHW"
    if algorithm.startswith("winograd") and not fits:
        return
    packed = fs.prepack(w, image=x.shape, stride=stride, layout=layout, algorithm=algorithm)
    assert packed.shape == (filters, 17, window, window)
    assert packed.algorithm == (algorithm if algorithm != "auto" else "winograd2" if fits else "direct")
    out = np.empty(expected.shape, "float32")
    for _ in range(2):  # the first call looks, the second knows
        assert fs.conv2d(x, packed, bias, stride, layout=layout, out=out) is out
        np.testing.assert_allclose(out, expected, rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(
            fs.conv2d(x, packed, stride=stride, layout=layout),
            expected - (bias if layout == "NHWC" else bias[:, None, None]), rtol=1e-3, atol=1e-3,
        )  # fmt: skip


def test_packed_filters_are_no_constant_of_the_image_size():
    packed = fs.prepack(normal(20, 8, 3, 3), image=(1, 8, 14, 14), algorithm="winograd2")
    assert fs.conv2d(normal(3, 8, 7, 5), packed).shape == (3, 20, 7, 5)
    assert "20, 8, 3, 3" in repr(packed)
    assert "winograd2" in repr(packed)


def test_uint8_times_int8_gives_int32():
    a, b = RNG.integers(0, 256, (35, 70), "uint8"), RNG.integers(-128, 128, (70, 36), "int8")
    out = fs.matmul(a, b)
    assert out.dtype == np.int32
    np.testing.assert_array_equal(out, a.astype(np.int32) @ b)


@pytest.mark.parametrize(
    ("activation", "function"),
    [
        (None, lambda x: x),
        ("relu", lambda x: np.maximum(x, 0)),
        ("gelu", lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))),
        ("silu", lambda x: x / (1 + np.exp(-x))),
    ],
)
@pytest.mark.parametrize("biased", [False, True])
def test_bias_and_activation(activation, function, biased):
    a, b, bias = normal(9, 8), normal(8, 17), normal(17) if biased else None
    expected = function(a @ b + (bias if biased else 0))
    np.testing.assert_allclose(fs.matmul(a, b, bias, activation), expected, rtol=1e-5, atol=1e-5)


def test_views_and_strides():
    a, b = normal(40, 33).T, normal(80, 20)[::2]
    np.testing.assert_allclose(fs.matmul(a, b), a @ b, rtol=1e-5, atol=1e-5)
    backwards = normal(20, 40)[::-1, ::-1].T
    np.testing.assert_allclose(fs.matmul(a, backwards), a @ backwards, rtol=1e-5, atol=1e-5)
    x = normal(6, 5, 4)
    np.testing.assert_array_equal(fs.relu(x.transpose(2, 0, 1)), np.maximum(x.transpose(2, 0, 1), 0))
    np.testing.assert_array_equal(fs.add(x[:, ::2], x[:, 1::2][:, [0, 1, 1]]), x[:, ::2] + x[:, 1::2][:, [0, 1, 1]])


def test_an_output_that_is_given_is_filled_and_returned():
    a, b = normal(5, 6), normal(6, 7)
    out, wide = np.empty((5, 7), np.float32), np.zeros((5, 14), np.float32)
    assert fs.matmul(a, b, out=out) is out
    np.testing.assert_allclose(out, a @ b, rtol=1e-5, atol=1e-6)
    fs.matmul(a, b, out=wide[:, ::2])
    np.testing.assert_array_equal(wide[:, ::2], out)
    assert not wide[:, 1::2].any()


def test_an_output_with_rows_that_lie_unevenly_is_filled():
    x, wide = normal(2, 3, 4), np.zeros((2, 5, 8), np.float32)
    out = wide[:, :3, ::2]
    assert fs.relu(x, out=out) is out
    np.testing.assert_array_equal(out, np.maximum(x, 0))
    assert not wide[:, 3:].any()
    assert not wide[:, :, 1::2].any()


@pytest.mark.parametrize("shape", [(), (1,), (0,), (7,), (0, 5), (5, 0), (3, 0, 2), (2, 3, 5, 7)])
def test_element_wise_on_any_rank(shape):
    x, y = np.asarray(normal(*shape)), np.asarray(normal(*shape))
    np.testing.assert_array_equal(fs.add(x, y), x + y)
    np.testing.assert_array_equal(fs.relu(x), np.maximum(x, 0))
    assert fs.relu(x).shape == shape


@pytest.mark.parametrize("shape", [(0, 3, 4), (3, 0, 4), (3, 4, 0), (1, 1, 1), (17, 1, 3), (1, 17, 3)])
def test_matmul_of_degenerate_shapes(shape):
    m, n, k = shape
    a, b = normal(m, k), normal(k, n)
    np.testing.assert_allclose(fs.matmul(a, b), a @ b, rtol=1e-5, atol=1e-6)


def test_conv2d():
    x, w, bias = normal(2, 4, 9, 8), normal(6, 2, 3, 3), normal(6)
    out = fs.conv2d(x, w, bias, stride=2, padding=1, groups=2, dilation=2)
    expected = fs.ops.conv2d.reference(x, w, bias, stride=2, padding=1, groups=2, dilation=2)
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-5)
    assert fs.conv2d(x, normal(3, 4, 1, 1)).shape == (2, 3, 11, 10)  # padding is 1 unless told
    there = fs.conv2d(x.transpose(0, 2, 3, 1), w.transpose(2, 3, 1, 0), bias, 2, 1, 2, 2, layout="NHWC")
    np.testing.assert_allclose(there.transpose(0, 3, 1, 2), expected, rtol=1e-4, atol=1e-5)
    x, w = normal(1, 16, 12, 20), normal(16, 16, 3, 3)
    expected = fs.ops.conv2d.reference(x, w, stride=1, padding=1)
    for algorithm in ("auto", "direct", "winograd2", "winograd4"):
        np.testing.assert_allclose(fs.conv2d(x, w, algorithm=algorithm), expected, rtol=1e-3, atol=1e-3)


def test_other_arrays_than_numpys():
    a = memoryview(np.ascontiguousarray(normal(3, 4)))
    b = normal(4, 5)
    np.testing.assert_allclose(fs.matmul(a, b), np.asarray(a) @ b, rtol=1e-5, atol=1e-6)


def packed_filters():
    return fs.prepack(normal(4, 3, 3, 3), image=(1, 3, 9, 9))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: fs.matmul(normal(3, 4), normal(5, 6)), r"K, N\), and got \(3, 4\) and \(5, 6\)"),
        (lambda: fs.matmul(normal(4), normal(3, 6)), r"got \(4,\) and \(3, 6\)"),
        (lambda: fs.matmul(np.array(2, "float32"), normal(3, 6)), r"got \(\) and \(3, 6\)"),
        (lambda: fs.matmul(normal(2, 3, 4), normal(3, 4, 5)), r"got \(2, 3, 4\) and \(3, 4, 5\)"),
        (lambda: fs.matmul(normal(2, 3, 4), normal(2, 4, 5), normal(5)), "bias and activation for one right side"),
        (lambda: fs.matmul(normal(2, 3, 4), normal(4, 5), out=normal(6, 5)), r"out has shape \(6, 5\), and the result"),
        (lambda: fs.matmul(normal(3, 5), fs.prepack(normal(4, 6))), r"got \(3, 5\) and \(4, 6\)"),
        (lambda: fs.prepack(normal(3)), r"a matrix \(K, N\) or the weights of a conv2d, and got .*\(3,\)"),
        (lambda: fs.prepack(normal(4, 3, 3, 3)), "say image=x.shape"),
        (lambda: fs.prepack(normal(4, 3, 3, 3), image=(1, 4, 9, 9)), r"do not fit images of shape \(1, 4, 9, 9\)"),
        (lambda: fs.conv2d(normal(1, 5, 9, 9), packed_filters()), r"images with 3 channels for weights \(4, 3, 3, 3\)"),
        (lambda: fs.conv2d(normal(1, 3, 9, 9), packed_filters(), groups=3), "groups is 3, and the weights were packed"),
        (lambda: fs.conv2d(normal(1, 9, 9, 3), packed_filters(), layout="NHWC"), "were packed for 'NCHW'"),
        (lambda: fs.conv2d(normal(1, 3, 9, 9), packed_filters(), algorithm="winograd4"), "packed for 'direct'"),
        (lambda: fs.matmul(normal(3, 4), normal(4, 6, dtype="float64")), "matmul: a is float32 and b is float64"),
        (lambda: fs.matmul(normal(3, 4), normal(4, 6), normal(5)), r"shape \(5,\), and the output has 6 columns"),
        (lambda: fs.matmul([[1.0]], normal(1, 1)), "matmul: a is a list"),
        (lambda: fs.matmul(normal(3, 4), normal(4, 6), out=normal(3, 5)), r"\(3, 5\), and the kernel takes \(3, 6\)"),
        (lambda: fs.add(normal(3), normal(4)), r"add takes two arrays of one shape, and got \(3,\) and \(4,\)"),
        (lambda: fs.add(normal(3), normal(3, dtype="float16")), "x is float32 and y is float16"),
        (lambda: fs.relu(normal(3), out=normal(4)), r"out has shape \(4,\), and the result has \(3,\)"),
        (lambda: fs.relu(normal(3), out=[0.0]), "relu: out is a list"),
        (lambda: fs.conv2d(normal(1, 3, 5, 5), normal(4, 2, 3, 3)), r"and \(4, 2, 3, 3\) with groups=1"),
        (lambda: fs.conv2d(normal(1, 3, 5, 5), normal(4, 3, 3, 2)), r"\(O, C / groups, KH, KH\)"),
        (lambda: fs.conv2d(normal(1, 3, 5, 5), normal(4, 3, 3, 3), layout="NHWC"),
         r"\(KH, KH, C / groups, O\) in layout NHWC, and got \(1, 3, 5, 5\)"),
        (lambda: fs.conv2d(normal(1, 3, 5, 5), normal(4, 3, 3, 3), layout="CHWN"), "'NCHW' or 'NHWC', not 'CHWN'"),
    ],
)  # fmt: skip
def test_arrays_that_do_not_fit(call, says):
    with pytest.raises(KernelError, match=says):
        call()


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: fs.matmul(normal(3, 4), normal(4, 5), activation="tanh"), "no activation 'tanh'"),
        (lambda: fs.conv2d(normal(1, 3, 5, 5), normal(4, 3, 3, 3), stride=0), "must be at least 1, got 0"),
        (lambda: fs.conv2d(normal(1, 3, 5, 5), normal(4, 3, 3, 3), padding=-1), "padding must be an integer from 0 up"),
        (lambda: fs.relu(np.zeros(3, complex)), "complex128"),
        (lambda: fs.matmul(*[np.ones((2, 2), "int64")] * 2), r"'int64': it takes float32, [^$]*x.astype\('float64'\)"),
        (lambda: fs.softmax(np.ones((2, 2), "int32")), r"'int32': it takes [^$]*hint: cast .*x.astype\('float32'\)"),
        (lambda: fs.sum(normal(2, 3), axis="rows"), "sum: axis must be an integer, got 'rows'"),
    ],
)
def test_what_the_operator_does_not_take(call, says):
    with pytest.raises(fs.FlashschedError, match=says):
        call()


def test_a_shape_is_compiled_once(monkeypatch):
    made = []
    monkeypatch.setattr(kernels, "_make", lambda *args, make=kernels._make: made.append(args) or make(*args))
    for _ in range(3):
        fs.relu(normal(4, 5))
    fs.relu(normal(5, 4))
    assert len(made) == 2
