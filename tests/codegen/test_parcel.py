"""A kernel that was packed computes what it computed before, in any process."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import flashsched as fs
from flashsched import te
from flashsched.codegen.parcel import opened, parcel_of
from flashsched.testing import programs


def test_a_kernel_is_packed_and_opened():
    args = programs.matmul(9, 20, 40)
    kernel = fs.build(te.create_schedule(args[-1]), args)
    again = opened(pickle.loads(pickle.dumps(parcel_of(kernel))))
    rng = np.random.default_rng(0)
    a, b = (rng.random(tensor.shape, dtype=np.float32) for tensor in args[:2])
    np.testing.assert_array_equal(again(a, b), kernel(a, b))
    assert again.module.from_cache


def test_it_works_with_no_object_cache(monkeypatch):
    monkeypatch.setenv("FLASHSCHED_CACHE", "off")
    args = programs.pointwise(4, 5)
    kernel = fs.build(te.create_schedule(args[-1]), args)
    x = np.ones((4, 5), dtype=np.float32)
    np.testing.assert_array_equal(opened(parcel_of(kernel))(x), kernel(x))


def test_sizes_that_a_call_decides_travel():
    n = te.var("n")
    x = te.placeholder((n,), name="x")
    y = te.compute((n,), lambda i: x[i] + 1, name="y")
    again = opened(pickle.loads(pickle.dumps(parcel_of(fs.build(te.create_schedule(y), [x, y])))))
    np.testing.assert_array_equal(again(np.zeros(5, dtype=np.float32)), np.ones(5, dtype=np.float32))


def test_python_functions_do_not_travel():
    x = te.placeholder((4,), name="x")
    y = te.extern((4,), [x], lambda ins, outs: np.add(ins[0], 1, out=outs[0]), dtype="float32", name="y")
    try:
        kernel = fs.build(te.create_schedule(y), [x, y])
    except fs.FlashschedError as error:
        pytest.skip(str(error))
    assert parcel_of(kernel) is None
