"""Scans over sizes that are known only when a kernel is called: one nest, one kernel, any number of rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flashsched as fs
from flashsched import te
from flashsched.codegen.interpreter import interpret
from flashsched.codegen.lower import CPU_PASSES, lower, program_of
from flashsched.errors import AxisError, DependenceError, KernelError, ShapeError
from flashsched.schedule.schedule import Schedule
from flashsched.te.evaluate import run_graph
from flashsched.testing.checks import check_round_trip

SHAPES = [(1, 1), (1, 7), (2, 0), (5, 13), (7, 64), (3, 31)]


def sums(rows: int = 1) -> tuple[te.Tensor, te.Tensor, te.Tensor, te.Tensor]:
    m, n = te.var("m"), te.var("n")
    X, state = te.placeholder((m, n), "int32", name="X"), te.placeholder((m, n), "int32", name="state")
    init = te.compute((rows, n), lambda t, i: X[t, i], name="init")
    update = te.compute((m, n), lambda t, i: state[t - rows, i] + X[t, i], name="update")
    return X, init, update, te.scan(init, update, state, inputs=[X], name="S")


def check(s: Schedule, *shapes: tuple[tuple[int, ...], ...]) -> None:
    """The nest, lowered and compiled once, computes what NumPy does on inputs of each of *shapes*."""
    kernel, scheduled, lowered = fs.build(s), program_of(s), lower(s, passes=CPU_PASSES)
    rng = np.random.default_rng(0)
    for choice in shapes:
        feeds = {t: rng.integers(-3, 4, shape).astype(t.dtype) for t, shape in zip(s.inputs, choice, strict=True)}
        arrays, wanted = list(feeds.values()), run_graph(s.outputs, feeds)
        made = kernel(*arrays)
        for found in (interpret(scheduled, arrays), interpret(lowered, arrays), made if len(wanted) > 1 else [made]):
            for ours, reference in zip(found, wanted, strict=True):
                np.testing.assert_array_equal(ours, reference, err_msg=str(s), strict=True)


@settings(max_examples=25, deadline=None)
@given(rows=st.integers(1, 3), factor=st.integers(1, 9), tail=st.sampled_from(["guard", "cut"]), data=st.data())
def test_sums_over_time(rows: int, factor: int, tail: str, data: st.DataObject) -> None:
    X, init, update, S = sums(rows)
    drawn = data.draw
    C = te.compute(S.shape, lambda t, i: S[t, i] * 2 + X[t, i], name="C")
    s = te.create_schedule([C, S] if drawn(st.booleans()) else C)
    if drawn(st.booleans()):
        s[init].compute_inline()
    else:
        s[init].vectorize(s[init].split("i", factor=factor)[1])
    inlined = drawn(st.booleans())
    if inlined:
        s[update].compute_inline()
    outer, inner = s[S].split("i", factor=factor, tail=tail)
    if not inlined:
        s[update].compute_at(s[S], drawn(st.sampled_from([outer, "t"])))
    if drawn(st.booleans()):
        s[S].parallel(outer)
    s[S].vectorize(inner) if drawn(st.booleans()) else s[S].unroll(inner)
    if drawn(st.booleans()):
        _, after = s[S].split("t", factor=drawn(st.integers(1, 4)), tail=drawn(st.sampled_from(["guard", "cut"])))
        s[S].unroll(after)
    if drawn(st.booleans()):
        copy = s.cache_read(S, "local", [C])
        s[copy].compute_at(s[C], "t")
    check(s, *((shape,) for shape in SHAPES if shape[0] >= rows))
    check_round_trip(s)


@pytest.mark.parametrize("where", ["init", "update", "S"])
def test_its_rows_are_shared_among_threads(where: str) -> None:
    *_, S = sums()
    s = te.create_schedule(S)
    outer, inner = s[where].split("i", factor=4)
    s[where].bind(outer, "blockIdx.x")
    s[where].bind(inner, "threadIdx.x")
    check(s, *((shape,) for shape in SHAPES))


def network() -> tuple[te.Tensor, te.Tensor, te.Tensor]:
    m, n = te.var("m"), te.var("n")
    X, W = te.placeholder((m, n), "int32", name="X"), te.placeholder((n, n), "int32", name="W")
    state, k = te.placeholder((m, n), "int32", name="state"), te.reduce_axis((0, n), name="k")
    init = te.compute((1, n), lambda t, i: X[t, i], name="init")
    product = te.compute((m, n), lambda t, i: te.sum(W[i, k] * state[t - 1, k], axis=k), name="product")
    update = te.compute((m, n), lambda t, i: te.clip(product[t, i], -3, 3) + X[t, i], name="update")
    return product, update, te.scan(init, update, state, name="H")


@pytest.mark.parametrize("how", ["plain", "split", "at", "cached"])
def test_a_network(how: str) -> None:
    product, update, H = network()
    s = te.create_schedule(H)
    if how == "split":
        s[product].parallel(s[product].split("i", factor=4)[0])
        s[product].unroll(s[product].split("k", factor=3, tail="cut")[1])
    if how == "at":
        s[update].compute_inline()
        outer, _ = s[H].split("i", factor=4)
        s[product].compute_at(s[H], outer)
    if how == "cached":
        acc = s.cache_write(product, "local")
        outer, _ = s[product].split("i", factor=4)
        s[acc].compute_at(s[product], outer)
    check(s, ((1, 1), (1, 1)), ((3, 5), (5, 5)), ((2, 0), (0, 0)), ((5, 13), (13, 13)))
    check_round_trip(s)


def test_states_of_several_shapes() -> None:
    m, n, k = te.var("m"), te.var("n"), te.var("k")
    X, Y = te.placeholder((m + 1, n), "int32", name="X"), te.placeholder((m, k), "int32", name="Y")
    a, b = te.placeholder((m + 1, n), "int32", name="a"), te.placeholder((m + 1, k, 2), "int32", name="b")
    first = te.compute((1, n), lambda t, i: X[t, i], name="first")
    zeros = te.compute((1, k, 2), lambda t, i, j: i.astype("int32"), name="zeros")
    r = te.reduce_axis((0, k), name="r")
    total = te.compute((m + 1,), lambda t: te.sum(b[t - 1, r, 1], axis=r), name="total")
    new_a = te.compute((m + 1, n), lambda t, i: te.clip(a[t - 1, i] + total[t], -9, 9) - X[t, i], name="new_a")
    new_b = te.compute((m + 1, k, 2), lambda t, i, j: te.clip(b[t - 1, i, 1 - j], -9, 9) - Y[t - 1, i], name="new_b")
    A, B = te.scan([first, zeros], [new_a, new_b], [a, b], name="S")
    s = te.create_schedule([A, B])
    s[new_a].vectorize(s[new_a].split("i", factor=4)[1])
    s[new_b].parallel("i")
    check(s, ((2, 3), (1, 2)), ((1, 0), (0, 1)), ((6, 1), (5, 7)), ((4, 5), (3, 0)))
    check_round_trip(s)
    assert [t.known_shape for t in te.bind_sizes([A, B], {m: 3, n: 2, k: 5})] == [(4, 2), (4, 5, 2)]


def test_sizes_that_are_bound() -> None:
    X, _, update, S = sums()
    m, n = X.shape
    s = te.create_schedule(S)
    s[update].compute_inline()
    s[S].split("i", factor=4)
    known = s.bind_sizes({m: 5, n: 8})
    assert "where" in str(s)
    assert str(known).split("\n")[-5:] == [
        "for t in range(4):",
        "  for i.o in range(2):",
        "    for i.i in range(4):",
        "      S(t=t + 1, i=i.o * 4 + i.i):  # t in order",
        "        S[t, i] = S[t - 1, i] + X[t, i]",
    ]
    x = np.arange(40, dtype="int32").reshape(5, 8)
    np.testing.assert_array_equal(fs.build(known)(x), x.cumsum(0))
    kernel = fs.build(s, specialize=[{n: 8}])
    np.testing.assert_array_equal(kernel(x), x.cumsum(0))
    np.testing.assert_array_equal(kernel(x[:, :5]), x[:, :5].cumsum(0))


def test_fewer_rows_than_are_given_first() -> None:
    X, _, _, S = sums(rows=2)
    kernel = fs.build(te.create_schedule(S))
    np.testing.assert_array_equal(kernel(np.ones((2, 3), "int32")), np.ones((2, 3)))
    with pytest.raises(KernelError, match="is m - 2, and would be -1: the sizes are m = 1, n = 3"):
        kernel(np.ones((1, 3), "int32"))
    with pytest.raises(ShapeError, match="init has 2 rows, and state 1"):
        run_graph([S], {X: np.ones((1, 3), "int32")})


def test_time_is_in_order_whatever_its_length() -> None:
    *_, S = sums()
    for verb in ("parallel", "vectorize"):
        with pytest.raises(DependenceError, match="runs over time"):
            getattr(te.create_schedule(S)[S], verb)("t")


@pytest.mark.parametrize(
    ("reads", "fine"),
    [
        (lambda t, m: t - 1, True),
        (lambda t, m: t - 2, True),
        (lambda t, m: te.minimum(t - 1, m - 2), True),
        (lambda t, m: te.maximum(t - 2, 0), True),
        (lambda t, m: t, False),
        (lambda t, m: m - 1 - t, False),
        (lambda t, m: te.minimum(t, m - 2), False),
    ],
)
def test_only_earlier_rows_are_read(reads: Any, fine: bool) -> None:
    m = te.var("m")
    state = te.placeholder((m,), "int32", name="state")
    init = te.compute((2,), lambda t: t.astype("int32") + 1, name="init")
    update = te.compute((m,), lambda t: state[reads(t, m)] + 1, name="update")
    if not fine:
        with pytest.raises(AxisError, match="only earlier rows are there"):
            te.scan(init, update, state)
        return
    X = te.placeholder((m,), "int32", name="X")
    S = te.scan(init, update, state, name="S")
    C = te.compute((m,), lambda i: S[i] + X[i], name="C")
    check(te.create_schedule(C), ((2,),), ((3,),), ((11,),))


def test_shapes_that_do_not_fit() -> None:
    m, n = te.var("m"), te.var("n")
    state = te.placeholder((m, n), name="state")
    init = te.compute((1, n), lambda t, i: te.const(1.0, "float32"), name="init")
    wide = te.compute((m, n + 1), lambda t, i: te.const(1.0, "float32"), name="wide")
    with pytest.raises(ShapeError, match=r"do not fit each other: init\[1, n\], wide\[m, n \+ 1\], state\[m, n\]"):
        te.scan(init, wide, state)
    rows = te.compute((m, n), lambda t, i: te.const(1.0, "float32"), name="rows")
    with pytest.raises(ShapeError, match="init rows has m rows, and how many first rows there are is a number"):
        te.scan(rows, rows, state)
    moved = te.compute((n, m), lambda i, t: state[t - 1, i], name="moved")
    update = te.compute((m, n), lambda t, i: moved[i, t], name="update")
    with pytest.raises(ShapeError, match=r"its first dimension is not time \(m\)"):
        te.scan(init, update, state)
    # the same size, however it is written
    twice = te.placeholder((2 * m, n), name="twice")
    step = te.compute((m + m, n), lambda t, i: twice[t - 1, i], name="step")
    assert te.scan(init, step, twice).shape[0] is not None
