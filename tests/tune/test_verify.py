from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashsched import te
from flashsched.errors import TuneError
from flashsched.hw import devices
from flashsched.ops import matmul
from flashsched.ops.operator import Operator
from flashsched.te.dtypes import numpy_dtype
from flashsched.tune.measuring.verify import Reference, compare, verify
from flashsched.tune.search.knobs import FirstKnobs
from flashsched.tune.task import Task

MATMUL = Task("matmul", (9, 7, 40))
SMALL = Reference(MATMUL, seed=0)
FLOATS = ["float32", "float64", "float16", "bfloat16"]
INTEGERS = ["int8", "int16", "int32", "int64", "uint8"]


def element_wise(dtype, shape=(5, 7), reference=None):
    """The task of Y = X, element by element."""
    x = te.placeholder(shape, dtype, name="X")
    return Task.from_te([x, te.compute(shape, lambda *i: x[i], name="Y")], reference=reference or (lambda x: x))


def right(reference):
    """What a right kernel returns: the reference, rounded."""
    with np.errstate(all="ignore"):
        return reference.output.astype(numpy_dtype(reference.task.args()[-1].dtype))


def like_a_kernel(function):
    """A kernel that fills its last argument with what *function* makes of the others."""

    def kernel(*arrays):
        arrays[-1][...] = function(*arrays[:-1])

    return kernel


# -- what is let pass --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16", "int8"])
@pytest.mark.parametrize("shape", [(9, 7, 40), (33, 20, 4096), (1, 1, 1), (3, 4, 0), (0, 4, 5)])
def test_a_right_result_passes(shape, dtype):
    reference = Reference(Task("matmul", shape, dtype), seed=3)
    assert compare(right(reference), reference).ok
    a, b = reference.inputs
    wide = np.int32 if dtype == "int8" else np.float64 if dtype == "float64" else np.float32
    plain = a.astype(wide) @ b.astype(wide)
    assert verify(like_a_kernel(lambda *_: plain), reference).ok


@pytest.mark.parametrize("dtype", FLOATS)
def test_another_order_of_the_sum_passes(dtype):
    """The worst order there is: one term after another, in the accumulator's dtype."""
    reference = Reference(Task("matmul", (9, 7, 4096), dtype), seed=0)
    a, b = reference.inputs
    wide = np.float64 if dtype == "float64" else np.float32
    total = np.zeros((9, 7), wide)
    for k in range(4096):
        total += a[:, k : k + 1].astype(wide) * b[k].astype(wide)
    assert compare(total.astype(a.dtype), reference).ok


@pytest.mark.parametrize("activation", ["relu", "gelu", "silu"])
def test_an_epilogue_in_the_accumulators_precision_passes(activation):
    reference = Reference(Task("matmul", (9, 7, 300), "float16", activation=activation, bias=True), seed=0)
    a, b, bias = (x.astype(np.float32) for x in reference.inputs)
    rounded = matmul.reference(a, b, bias, activation=activation).astype(np.float16)
    assert compare(rounded, reference).ok


# -- what is not -------------------------------------------------------------------------------------------------


@given(index=st.integers(0, 62), off=st.sampled_from([1e-3, -1e-3, 1e30, np.nan, -np.inf]))
def test_one_wrong_element_anywhere_is_found(index, off):
    got = right(SMALL)
    got.flat[index] += off
    found = compare(got, SMALL)
    assert not found.ok
    assert found.where == np.unravel_index(index, got.shape)
    assert f"wrong result at {list(found.where)}: " in found.text()
    assert found.max_error > found.tolerance
    assert np.isfinite(found.max_error)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "float64"])
def test_a_dropped_last_term_of_a_long_sum_is_found(dtype):
    reference = Reference(Task("matmul", (33, 20, 4096), dtype), seed=0)
    a, b = (x.astype(np.float64) for x in reference.inputs)
    short = (a[:, :-1] @ b[:-1]).astype(numpy_dtype(dtype))
    assert not compare(short, reference).ok


def test_a_sum_that_forgets_its_start_is_found():
    reference = Reference(Task("matmul", (9, 7, 4096), bias=True), seed=0)
    a, b, _ = (x.astype(np.float64) for x in reference.inputs)
    assert not compare((a @ b).astype(np.float32), reference).ok


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_are_exact(dtype):
    reference = Reference(Task("add", (6, 11), dtype), seed=0)
    got = right(reference)
    assert compare(got, reference).ok
    got[5, 10] += 1
    assert not compare(got, reference).ok


def test_integers_beyond_float64_are_exact():
    reference = Reference(element_wise("int64", reference=lambda x: x.astype(np.int64) + (1 << 60)), seed=0)
    got = right(reference)
    assert compare(got, reference).ok
    got[0, 0] += 1
    assert not compare(got, reference).ok


@pytest.mark.parametrize("dtype", [*FLOATS, *INTEGERS, "bool"])
def test_an_output_that_is_not_written_is_found(dtype):
    for reference in (Reference(element_wise(dtype), seed=seed) for seed in range(5)):
        assert not verify(lambda x, y: None, reference).ok
        for missing in range(35):

            def kernel(x, y, missing=missing):
                keep = np.arange(35) != missing
                y.reshape(-1)[keep] = x.reshape(-1)[keep]

            assert not verify(kernel, reference).ok


@pytest.mark.parametrize("dtype", FLOATS)
def test_infinity_is_right_only_where_the_result_is_beyond_the_largest(dtype):
    big = {"float16": 1e6, "float32": 1e39, "bfloat16": 1e39, "float64": np.inf}[dtype]
    expected = np.full((5, 7), big)
    expected[1] *= -1
    expected[2] = 1.0
    reference = Reference(element_wise(dtype, reference=lambda x: expected), seed=0)
    got = right(reference)
    assert np.isinf(got[0]).all()
    assert compare(got, reference).ok
    for row in range(3):
        changed = got.copy()
        changed[row] = -np.inf if row != 1 else np.inf
        assert not compare(changed, reference).ok


def test_nan_is_right_only_where_the_result_is_nan():
    expected = np.full((5, 7), 2.0)
    expected[3, 3] = np.nan
    reference = Reference(element_wise("float32", reference=lambda x: expected), seed=0)
    assert compare(right(reference), reference).ok
    assert not compare(np.full((5, 7), 2.0, np.float32), reference).ok


# -- the reference -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "task",
    [
        Task("matmul", (9, 7, 40), bias=True, activation="gelu"),
        Task("matmul", (9, 7, 40), "bfloat16"),
        Task("conv2d", (1, 4, 7, 6, 4, 3, 2, 1), groups=2, dilation=2),
        Task("add", (5, 7), "int8"),
        Task("relu", (5, 7)),
    ],
    ids=repr,
)
def test_the_references_of_the_operators_are_what_their_te_definitions_say(task):
    plain = Reference(Task.from_te(task.args()), seed=0)  # has no reference: its default nest is run
    known = Reference(task, seed=0)
    assert all(np.array_equal(a, b) for a, b in zip(plain.inputs, known.inputs, strict=True))
    assert compare(plain.output, known).ok


def test_a_reference_takes_the_options_that_it_names():
    def define(n, dtype="float32", scale=2, other=3):
        x = te.placeholder((n,), dtype, name="x")
        return [x, te.compute((n,), lambda i: x[i] * scale, name="y")]

    for reference in (
        lambda x, scale: x * scale,
        lambda x, *, scale: x * scale,
        lambda x, **options: x * options["scale"],
        lambda n, scale: n * scale,  # its first parameter is the input, whatever it is called
    ):
        found = Reference(Task(Operator("scaled", define, (4,), reference=reference), scale=5), seed=0)
        np.testing.assert_allclose(found.output, found.inputs[0] * 5.0)


def test_a_reference_written_in_c():
    x = te.placeholder((4,), name="x")
    task = Task.from_te([x, te.compute((4,), lambda i: te.exp(x[i]), name="y")], reference=np.exp)
    found = Reference(task, seed=0)
    np.testing.assert_allclose(found.output, np.exp(found.inputs[0]))


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        (lambda x: x[0], r"the reference of custom gives float32\[7\], not shape \[5, 7\]"),
        (lambda x: x[:, :, None], r"float32\[5, 7, 1\], not shape"),
        (lambda x: 1.0, r"float64\[\], not shape"),
        (lambda x: None, r"object\[\], not shape"),
        (lambda x: x / {}, "the reference of custom raises TypeError: "),
        (lambda: 1, "the reference of custom raises TypeError: "),
    ],
)
def test_a_reference_that_is_no_use(reference, says):
    with pytest.raises(TuneError, match=says):
        Reference(element_wise("float32", reference=reference), seed=0)


def test_a_kernel_sees_the_inputs_as_they_were():
    reference = Reference(MATMUL, seed=0)
    before = [x.copy() for x in reference.inputs]

    def scribbles(a, b, c):
        c[...] = a @ b
        a[...] = b[...] = 0

    assert verify(scribbles, reference).ok
    assert all(np.array_equal(x, y) for x, y in zip(before, reference.inputs, strict=True))


def test_a_compiled_kernel_passes():
    import flashsched as fs

    made = MATMUL.candidate(FirstKnobs(), devices["cpu"])
    assert verify(fs.build(made.schedule, made.args), SMALL).ok
