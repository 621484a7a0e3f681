"""argmax and argmin: NumPy's answers, ties and NaN included, whatever the schedule."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flashsched as fs
from flashsched import te
from flashsched.errors import AxisError, DtypeError, ReducerError, ShapeError
from flashsched.te.evaluate import run_graph
from flashsched.te.tensor import Tensor
from flashsched.testing.checks import check_meaning, check_round_trip

NUMPY = {"argmax": (np.argmax, np.max), "argmin": (np.argmin, np.min)}


def places(name: str, m: int, n: int, dtype: str) -> tuple[Tensor, Tensor, Tensor]:
    A, k = te.placeholder((m, n), dtype, name="A"), te.reduce_axis((0, n), name="k")
    at, value = te.compute((m,), lambda i: getattr(te, name)(A[i, k], axis=k), name="M")
    return A, at, value


@settings(max_examples=120, deadline=None)
@given(
    name=st.sampled_from(list(NUMPY)),
    m=st.integers(1, 4),
    values=st.lists(st.sampled_from([0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 3.5]), min_size=1, max_size=12),
    dtype=st.sampled_from(["float32", "float64", "float16"]),
    factor=st.integers(1, 5),
)
def test_numpys_answer_in_any_order(name: str, m: int, values: list[float], dtype: str, factor: int) -> None:
    A, at, value = places(name, m, len(values), dtype)
    a = np.stack([np.roll(np.asarray(values, dtype), turn) for turn in range(m)])
    arg, best = NUMPY[name]
    s = te.create_schedule([at, value])
    i, k = s[at].op.axis[0], s[at].op.reduce_axis[0]
    ko, ki = s[at].split(k, factor=factor)
    s[at].reorder(ki, ko, i)  # not the order of the rows
    s[at].vectorize(i)
    for found in (run_graph([at, value], {A: a}), fs.build(s, [A, at, value])(a)):
        np.testing.assert_array_equal(found[0], arg(a, axis=1), strict=True)
        np.testing.assert_array_equal(found[1], best(a, axis=1), strict=True)


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(list(NUMPY)),
    m=st.sampled_from([0, 1, 2, 7, 13]),
    n=st.sampled_from([1, 2, 5, 11]),
    dtype=st.sampled_from(["int32", "uint8", "uint32", "int8", "bool", "float32"]),
    data=st.data(),
)
def test_every_way_to_schedule_two_outputs(name: str, m: int, n: int, dtype: str, data: st.DataObject) -> None:
    _, at, value = places(name, m, n, dtype)
    C = te.compute((m,), lambda i: at[i] + value[i].astype("int64"), name="C")
    s = te.create_schedule(C)
    cached = s.cache_write(at, "local") if data.draw(st.booleans()) else (at, value)
    if cached[0] is not at:
        s[at].compute_inline()
    outer, inner = s[C].split(
        "i", factor=data.draw(st.integers(1, 6)), tail=data.draw(st.sampled_from(["guard", "cut"]))
    )
    s[cached[0]].compute_at(s[C], data.draw(st.sampled_from([outer, inner])))
    if data.draw(st.booleans()):
        s[C].parallel(outer)
    stage = s[cached[0]]
    stage.reorder(stage.op.reduce_axis[0], stage.op.axis[0])
    stage.vectorize(stage.op.axis[0])
    check_meaning(s, compiled=True)
    check_round_trip(s)


def test_places_are_counted_as_numpy_counts_them() -> None:
    A = te.placeholder((3, 4, 7), "int32", name="A")
    j, k = te.reduce_axis((0, 4), name="j"), te.reduce_axis((2, 7), name="k")
    at, value = te.compute((3,), lambda i: te.argmin(A[i, j, k], axis=[j, k], dtype="int32"), name="M")
    a = np.random.default_rng(0).integers(-9, 9, (3, 4, 7)).astype("int32")
    found = fs.build(te.create_schedule([at, value]), [A, at, value])(a)
    np.testing.assert_array_equal(found[0], a[:, :, 2:].reshape(3, -1).argmin(axis=1))
    assert at.dtype == "int32"


def test_places_of_ones_own_and_a_condition() -> None:
    A, names = te.placeholder((5,), name="A"), te.placeholder((5,), "int32", name="names")
    k = te.reduce_axis((0, 5), name="k")
    at, value = te.compute((), lambda: te.argmax((names[k], A[k]), axis=k, where=k < 2), name="M")
    a, n = np.array([1, 2, 3, 2, 1], "float32"), np.array([7, 9, 11, 13, 15], "int32")
    assert [int(x) for x in run_graph([at, value], {A: a, names: n})] == [9, 2]


def test_over_nothing() -> None:
    A, k = te.placeholder((2, 0), name="A"), te.reduce_axis((0, 0), name="k")
    at, value = te.compute((2,), lambda i: te.argmax(A[i, k], axis=k), name="M")
    found = fs.build(te.create_schedule([at, value]), [A, at, value])(np.empty((2, 0), "float32"))
    assert found[0].tolist() == [2**63 - 1] * 2
    assert found[1].tolist() == [-np.inf] * 2


def test_both_may_be_inlined_where_they_are_only_copied() -> None:
    A = te.placeholder((9,), "int32", name="A")
    low, high = te.compute((9,), lambda i: (A[i] - 1, A[i] + 1), name="P")
    C = te.compute((9,), lambda i: low[i] * high[8 - i], name="C")
    s = te.create_schedule(C)
    s[low].compute_inline()
    assert str(s).splitlines()[-1].strip() == "C[i] = (A[i] - 1) * (A[8 - i] + 1)"
    check_meaning(s, compiled=True)
    check_round_trip(s)


def test_refusals() -> None:
    A, k = te.placeholder((4, 6), name="A"), te.reduce_axis((0, 300), name="k")
    with pytest.raises(AxisError, match=r"axis must be a te\.reduce_axis or several, not None"):
        te.argmax(A[0, 0])
    with pytest.raises(DtypeError, match="a place is an integer, and dtype is float32"):
        te.argmax(A[0, k % 6], axis=k, dtype="float32")
    with pytest.raises(DtypeError, match=r"the place 1\.0 is float32"):
        te.argmax((te.const(1.0), A[0, k % 6]), axis=k)
    with pytest.raises(ShapeError, match="there are 300 places, and int8 counts to 127"):
        te.argmin(A[0, k % 6], axis=k, dtype="int8")
    with pytest.raises(ReducerError, match="was given 3 values"):
        te.argmin((1, 2, 3), axis=k)
