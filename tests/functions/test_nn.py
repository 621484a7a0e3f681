"""``fs.softmax`` and its like, as a person calls them on arrays."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

import flashsched as fs
from flashsched.errors import KernelError
from flashsched.ops import OPERATORS

RNG = np.random.default_rng(0)
TOLERANCE = {"float32": 1e-5, "float64": 1e-13, "float16": 2e-3, "bfloat16": 1.6e-2}


def normal(*shape, dtype="float32"):
    return RNG.standard_normal(shape).astype(dtype)


def near(got, want):
    tolerance = TOLERANCE[str(got.dtype)]
    np.testing.assert_allclose(got.astype(np.float64), want, rtol=tolerance, atol=10 * tolerance)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", ml_dtypes.bfloat16])
@pytest.mark.parametrize("shape", [(9,), (3, 40), (2, 3, 17), (2, 0, 5)])
def test_softmax(shape, dtype):
    x = normal(*shape, dtype=dtype)
    out = fs.softmax(x)
    assert (out.shape, out.dtype) == (x.shape, x.dtype)
    near(out, OPERATORS["softmax"].reference(x))


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2])
def test_softmax_over_any_axis(axis):
    x = normal(3, 5, 7)
    want = np.moveaxis(OPERATORS["softmax"].reference(np.moveaxis(x, axis, -1)), -1, axis)
    out = fs.softmax(x, axis=axis)
    assert out.flags.c_contiguous
    near(out, want)
    given = np.empty_like(x)
    assert fs.softmax(x, axis=axis, out=given) is given
    np.testing.assert_array_equal(given, out)


def test_layernorm_and_rmsnorm():
    x, gamma, beta = normal(2, 3, 50), normal(50), normal(50)
    near(fs.layernorm(x, gamma, beta), OPERATORS["layernorm"].reference(x, gamma, beta))
    near(fs.layernorm(x, gamma, beta, eps=0.5), OPERATORS["layernorm"].reference(x, gamma, beta, eps=0.5))
    near(fs.rmsnorm(x, gamma), OPERATORS["rmsnorm"].reference(x, gamma))
    near(fs.rmsnorm(x, gamma, 0.5), OPERATORS["rmsnorm"].reference(x, gamma, eps=0.5))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("shape", [(2, 3, 20, 8), (3, 20, 8), (20, 8), (1, 2, 2, 9, 4)])
def test_attention(shape, causal):
    q, k, v = normal(*shape), normal(*shape), normal(*shape)
    want = OPERATORS["attention"].reference(q, k, v, causal)
    near(fs.attention(q, k, v, causal=causal), want)
    out = np.empty_like(q)
    assert fs.attention(q, k, v, causal=causal, out=out) is out
    near(out, want)


def test_gelu():
    x, bias, residual = normal(3, 4, 20), normal(20), normal(3, 4, 20)
    reference = OPERATORS["gelu"].reference
    near(fs.gelu(x), reference(x))
    near(fs.gelu(x, form="tanh"), reference(x, form="tanh"))
    near(fs.gelu(x, bias, residual), reference(x, bias, residual, bias=True, residual=True))
    near(fs.gelu(x, residual=residual), reference(x) + residual)
    assert fs.gelu(normal(2, 0, 5), residual=normal(2, 0, 5)).shape == (2, 0, 5)


@pytest.mark.parametrize("axis", [0, 1, 2, -1, None])
@pytest.mark.parametrize("op", ["sum", "mean", "max"])
def test_reductions(op, axis):
    x = normal(5, 6, 7)
    got, want = getattr(fs, op)(x, axis=axis), getattr(np, op)(x.astype(np.float64), axis=axis)
    assert (got.shape, got.dtype) == (want.shape, x.dtype)
    near(got, want)
    out = np.empty_like(got)
    assert getattr(fs, op)(x, axis=axis, out=out) is out
    near(out, want)


def test_a_vector_is_reduced_to_a_number():
    assert fs.sum(np.arange(5, dtype="float32")) == 10
    assert fs.max(np.arange(5, dtype="float32"), axis=0).shape == ()


def test_transpose():
    x = normal(20, 33)
    np.testing.assert_array_equal(fs.transpose(x), x.T)
    out = np.empty((33, 20), "float32")
    assert fs.transpose(x, out=out) is out
    np.testing.assert_array_equal(out, x.T)


@pytest.mark.parametrize("function", [fs.softmax, lambda x, out: fs.rmsnorm(x, np.ones(8, "float32"), out=out)])
def test_out_is_filled_and_returned(function):
    x, want = normal(4, 6, 8), None
    want = function(x, out=None)
    out = np.full_like(x, np.nan)
    assert function(x, out=out) is out
    np.testing.assert_array_equal(out, want)
    apart = np.full((6, 4, 8), np.nan, "float32").transpose(1, 0, 2)  # its rows do not lie evenly apart
    assert function(x, out=apart) is apart
    np.testing.assert_array_equal(apart, want)


def test_arrays_that_lie_otherwise():
    x = normal(12, 40)[::2, ::2]
    near(fs.softmax(x), OPERATORS["softmax"].reference(x))


@pytest.mark.parametrize(("op", "shape"), [("softmax", (20, 70)), ("layernorm", (9, 33))])
def test_a_tuned_record_is_right_and_is_used(no_logs, op, shape):
    result = fs.tune(fs.Task(op, shape), trials=2, log="tuning_logs/rows.jsonl", seed=0)
    assert result.best is not None
    assert result.to_frame()["status"].eq("correct").all()
    x, weights = normal(*shape), [normal(shape[1])] * (0 if op == "softmax" else 2)
    near(getattr(fs, op)(x, *weights), OPERATORS[op].reference(x, *weights))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: fs.softmax(normal(3, 4), axis=2), r"softmax: axis 2 is none of an array of shape \(3, 4\)"),
        (lambda: fs.softmax(np.array(1.0, "float32")), r"softmax: axis -1 is none of an array of shape \(\)"),
        (lambda: fs.softmax(normal(3, 4), out=normal(4, 3)), r"softmax: out has shape \(4, 3\), and the result"),
        (lambda: fs.layernorm(normal(3, 4), normal(4), normal(3)), r"layernorm: beta has shape \(3,\)"),
        (lambda: fs.layernorm(normal(3, 4), normal(4), normal(4, dtype="float64")), "x is float32 and beta is float64"),
        (lambda: fs.rmsnorm(normal(3, 4), normal(3)), r"rmsnorm: gamma has shape \(3,\), and the rows of x have 4"),
        (lambda: fs.gelu(normal(3, 4), bias=normal(3)), r"gelu: bias has shape \(3,\)"),
        (lambda: fs.gelu(normal(3, 4), residual=normal(4, 3)), r"gelu: residual has shape \(4, 3\)"),
        (lambda: fs.gelu(normal(3, 4), form="relu"), "gelu: form is 'erf' or 'tanh', not 'relu'"),
        (lambda: fs.sum(normal(3, 4), axis=2), "sum: axis 2 is none of an array"),
        (lambda: fs.mean(normal(3, 4), out=normal(4)), r"mean: out has shape \(4,\), and the result has \(3,\)"),
        (lambda: fs.transpose(normal(3)), r"transpose takes a matrix, and got shape \(3,\)"),
        (lambda: fs.transpose(normal(3, 4), out=normal(3, 4)), "shape"),
        (lambda: fs.attention(*[normal(4)] * 3), r"attention takes three arrays of one shape \(B, H, S, D\), and got"),
        (lambda: fs.attention(normal(3, 4), normal(3, 4), normal(4, 3)), r"and got \(3, 4\), \(3, 4\), \(4, 3\)"),
    ],
)
def test_refusals(call, says):
    with pytest.raises(KernelError, match=says):
        call()
