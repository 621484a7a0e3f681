"""Scans: rows after rows, whatever is done to the loops inside time; and time itself stays in order."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flashsched as fs
from flashsched import te
from flashsched.codegen.lower import lower
from flashsched.errors import (
    AxisError,
    DependenceError,
    DtypeError,
    ExpressionError,
    FlashschedError,
    OutputError,
    ShapeError,
)
from flashsched.schedule.ir import Alloc, walk_stmt
from flashsched.te.evaluate import run_graph
from flashsched.te.tensor import Tensor
from flashsched.testing.checks import check_meaning, check_round_trip


def sums(steps: int, n: int, rows: int = 1) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """X, the first rows of X, an update, and S: rows of X added to the row *rows* before."""
    X, state = te.placeholder((steps, n), name="X"), te.placeholder((steps, n), name="state")
    init = te.compute((rows, n), lambda t, i: X[t, i], name="init")
    update = te.compute((steps, n), lambda t, i: state[t - rows, i] + X[t, i], name="update")
    return X, init, update, te.scan(init, update, state, inputs=[X], name="S")


def network(steps: int, n: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """X, W, and H: the rows of a recurrent network, ``H[t] = clip(W @ H[t - 1]) + X[t]`` in two stages."""
    X, W = te.placeholder((steps, n), "int32", name="X"), te.placeholder((n, n), "int32", name="W")
    state, k = te.placeholder((steps, n), "int32", name="state"), te.reduce_axis((0, n), name="k")
    init = te.compute((1, n), lambda t, i: X[t, i], name="init")
    product = te.compute((steps, n), lambda t, i: te.sum(W[i, k] * state[t - 1, k], axis=k), name="product")
    update = te.compute((steps, n), lambda t, i: te.clip(product[t, i], -3, 3) + X[t, i], name="update")
    return X, W, init, product, update, te.scan(init, update, state, name="H")


def pair(steps: int, n: int, m: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Two states of different shapes, each reading both: their updates, and what comes out."""
    X = te.placeholder((steps, n), "int32", name="X")
    a, b = te.placeholder((steps, n), "int32", name="a"), te.placeholder((steps, m, 2), "int32", name="b")
    first = te.compute((1, n), lambda t, i: X[t, i], name="first")
    zeros = te.compute((1, m, 2), lambda t, i, j: te.const(0, "int32") + i.astype("int32"), name="zeros")
    k = te.reduce_axis((0, m), name="k")
    total = te.compute((steps,), lambda t: te.max(b[t - 1, k, 1], axis=k), name="total")
    new_a = te.compute((steps, n), lambda t, i: te.clip(a[t - 1, i] + total[t], -9, 9) - X[t, i], name="new_a")
    new_b = te.compute(
        (steps, m, 2), lambda t, i, j: te.clip(b[t - 1, i, 1 - j] - a[t - 1, i % n], -9, 9), name="new_b"
    )
    A, B = te.scan([first, zeros], [new_a, new_b], [a, b], name="S")
    return X, new_a, new_b, A, B


def test_the_default_nest() -> None:
    *_, H = network(5, 3)
    s = te.create_schedule(H)
    assert str(s) == "\n".join(
        [
            "for t in range(1):",
            "  for i in range(3):",
            "    init(t=t, i=i):",
            "      init[t, i] = X[t, i]",
            "for t in range(1):",
            "  for i in range(3):",
            "    H.init(t=t, i=i):",
            "      H[t, i] = init[t, i]",
            "for t in range(4):",
            "  for t_1 in range(1):",
            "    for i in range(3):",
            "      for k in range(3):",
            "        product(t=t + 1, i=i, k=k):  # reduces k",
            "          init product[t, i] = 0",
            "          product[t, i] = product[t, i] + W[i, k] * H[t - 1, k]",
            "  for t_1 in range(1):",
            "    for i in range(3):",
            "      update(t=t + 1, i=i):",
            "        update[t, i] = min(max(product[t, i], -3), 3) + X[t, i]",
            "  for i in range(3):",
            "    H(t=1 + t, i=i):  # t in order",
            "      H[t, i] = update[t, i]",
        ]
    )
    rows = {node.buffer.name: node.buffer.shape for node in walk_stmt(lower(s).body) if isinstance(node, Alloc)}
    assert rows == {"init": (1, 3), "product": (1, 3), "update": (1, 3)}
    assert s[H].op.scan_axis.name == "t"
    assert [axis.name for axis in s[H].op.spatial_axis_] == ["i"]
    assert [t.name for t in s.inputs] == ["X", "W"]
    check_meaning(s, compiled=True)


@settings(max_examples=40, deadline=None)
@given(
    steps=st.sampled_from([1, 2, 3, 7]),
    n=st.sampled_from([0, 1, 2, 5, 13]),
    rows=st.integers(1, 3),
    factor=st.integers(1, 5),
    tail=st.sampled_from(["guard", "cut"]),
    data=st.data(),
)
def test_an_elementwise_scan(steps: int, n: int, rows: int, factor: int, tail: str, data: st.DataObject) -> None:
    X, init, update, S = sums(max(steps, rows), n, rows)
    C = te.compute(S.shape, lambda t, i: S[t, i] * 2 + X[t, i], name="C")
    s = te.create_schedule([C, S] if data.draw(st.booleans()) else C)
    drawn = data.draw
    if drawn(st.booleans()):
        s[init].compute_inline()
    else:
        s[init].vectorize("i")
    inlined = drawn(st.booleans())
    if inlined:
        s[update].compute_inline()
    outer, inner = s[S].split("i", factor=factor, tail=tail)
    if not inlined:
        s[update].compute_at(s[S], drawn(st.sampled_from([outer, "t"])))
        s[update].vectorize("i")
    if drawn(st.booleans()):
        s[S].parallel(outer)
    s[S].vectorize(inner) if drawn(st.booleans()) else s[S].unroll(inner)
    if drawn(st.booleans()):
        before, after = s[S].split("t", factor=drawn(st.integers(1, 4)), tail=drawn(st.sampled_from(["guard", "cut"])))
        s[S].unroll(after)
        if drawn(st.booleans()):
            s[S].unroll(before)
    copy = s.cache_read(S, "local", [C]) if drawn(st.booleans()) else None
    if copy is not None:
        s[copy].compute_at(s[C], "t")
    check_meaning(s, compiled=True)
    check_round_trip(s)


@settings(max_examples=25, deadline=None)
@given(steps=st.sampled_from([1, 2, 5]), n=st.sampled_from([1, 2, 5, 11]), factor=st.integers(1, 5), data=st.data())
def test_a_network(steps: int, n: int, factor: int, data: st.DataObject) -> None:
    _, W, _, product, update, H = network(steps, n)
    s = te.create_schedule(H)
    acc = s.cache_write(product, "local") if data.draw(st.booleans()) else None
    table = s.cache_read(W, "global") if data.draw(st.booleans()) else None
    if data.draw(st.booleans()):
        s[update].compute_inline()
        s[product].compute_at(s[H], data.draw(st.sampled_from(["t", "i"])))
    else:
        s[product].compute_at(s[update], data.draw(st.sampled_from(["t", "i"])))
    outer, inner = s[product].split("i", factor=factor, tail=data.draw(st.sampled_from(["guard", "cut"])))
    if acc is not None:
        s[acc].compute_at(s[product], data.draw(st.sampled_from([outer, inner])))
        s[acc].reorder("k", "i")
        s[acc].vectorize("i")
    else:
        s[product].reorder(outer, "k", inner)
        s[product].vectorize(inner)
    if data.draw(st.booleans()):
        s[product].parallel(outer)
    if table is not None:
        s[table].parallel(s[table].op.axis[0])
    check_meaning(s, compiled=True)
    check_round_trip(s)


@settings(max_examples=25, deadline=None)
@given(
    steps=st.sampled_from([1, 2, 6]),
    n=st.sampled_from([1, 3, 7]),
    m=st.sampled_from([1, 2, 5]),
    wanted=st.sampled_from(["A", "B", "both", "op"]),
    factor=st.integers(1, 4),
    data=st.data(),
)
def test_two_states_share_one_time(steps: int, n: int, m: int, wanted: str, factor: int, data: st.DataObject) -> None:
    _, new_a, new_b, A, B = pair(steps, n, m)
    chosen: dict[str, object] = {"A": A, "B": B, "both": [B, A], "op": A.op}
    s = te.create_schedule(chosen[wanted])  # type: ignore[arg-type]
    if data.draw(st.booleans()):
        s[A].split("t", factor=factor, tail=data.draw(st.sampled_from(["guard", "cut"])))
    if data.draw(st.booleans()):
        s[new_b].compute_inline()
    else:
        s[new_b].compute_at(s[B], data.draw(st.sampled_from(["t", "j"])))
    s[B].reorder("j", "i")
    s[B].vectorize("i")
    s[A].parallel("i")
    s[new_a].split("i", factor=factor)
    check_meaning(s, compiled=True)
    check_round_trip(s)


def test_numpy_says_the_same() -> None:
    X, *_, S = sums(6, 4)
    x = np.random.default_rng(0).integers(-9, 9, (6, 4)).astype("float32")
    np.testing.assert_array_equal(run_graph([S], {X: x})[0], np.cumsum(x, axis=0))
    np.testing.assert_array_equal(fs.build(te.create_schedule(S.op), [X, S])(x), np.cumsum(x, axis=0))
    np.testing.assert_array_equal(run_graph([S], {X: x}, "float64")[0], np.cumsum(x, axis=0, dtype="float64"))


def test_what_it_needs_from_outside_may_be_computed_inside() -> None:
    A, state = te.placeholder((6, 4), name="A"), te.placeholder((6, 4), name="state")
    X = te.compute((6, 4), lambda t, i: A[t, i] * 2, name="X")
    init = te.compute((1, 4), lambda t, i: te.const(1.0), name="init")
    update = te.compute((6, 4), lambda t, i: state[t - 1, 3 - i] + X[t, i], name="update")
    S = te.scan(init, update, state, name="S")
    for place in ("t.o", "t.i", "i"):
        s = te.create_schedule(S)
        s[S].split("t", factor=2)
        s[update].compute_at(s[S], "i")
        s[X].compute_at(s[S], place)
        s[S].parallel("i")
        check_meaning(s, compiled=True)
        check_round_trip(s)


Step = Callable[[fs.Schedule, Tensor, Tensor, Tensor, Tensor], object]
REFUSED: list[tuple[Step, type[FlashschedError], str]] = [
    (lambda s, X, init, update, S: s[S].parallel("t"), DependenceError, "loop 't' of 'S' runs over time.*be parallel"),
    (lambda s, X, init, update, S: s[S].vectorize("t"), DependenceError, "runs over time.*can't be vectorized"),
    (lambda s, X, init, update, S: s[S].bind("t", "blockIdx.x"), DependenceError, "runs over time"),
    (lambda s, X, init, update, S: s[S].reorder("i", "t"), DependenceError, "runs over time.*can't be put elsewhere"),
    (lambda s, X, init, update, S: s[S].tile("t", "i", 2, 2), DependenceError, "runs over time"),
    (lambda s, X, init, update, S: s[update].compute_root(), DependenceError, "'update' reads rows of 'S' and is need"),
    (lambda s, X, init, update, S: s.cache_read(S, "local", [update]), DependenceError, "'S.local' reads rows of 'S'"),
    (lambda s, X, init, update, S: s.cache_write(S, "local"), DependenceError, "'S' writes a state of a scan"),
    (lambda s, X, init, update, S: s["S.init"].compute_inline(), DependenceError, "'S.init' writes a state of a scan"),
    (lambda s, X, init, update, S: s["S.init"].compute_at(s[S], "t"), DependenceError, "writes a state of a scan"),
]


@pytest.mark.parametrize(("step", "error", "message"), REFUSED)
def test_a_schedule_refuses(step: Step, error: type[FlashschedError], message: str) -> None:
    X, init, update, S = sums(6, 4)
    C = te.compute((6, 4), lambda t, i: S[t, i] + 1, name="C")
    s = te.create_schedule(C)
    with pytest.raises(error, match=message):
        step(s, X, init, update, S)
    check_meaning(s)


def test_a_state_is_never_padded() -> None:
    *_, S = sums(7, 5)
    C = te.compute((7, 5), lambda t, i: S[t, i] + 1, name="C")
    s = te.create_schedule(C)
    for tail in ("pad", "shift"):
        with pytest.raises(DependenceError, match="'S' writes a state of a scan"):
            s[S].split("i", factor=2, tail=tail)


def test_a_task_says_what_it_begins_with() -> None:
    X, *_, S = sums(7, 5)
    W, *_, V = sums(7, 5, rows=2)
    task = fs.Task.from_te([X, S])
    assert "S[t<6, i<5] = float32 update[t, i] from init" in task.text
    assert task.hash != fs.Task.from_te([W, V]).hash
    schedule = te.create_schedule(S)
    schedule[S].vectorize("i")
    assert fs.simulate(schedule, device="a100-sim").time_s > 0


def test_parts_of_time_stay_in_order() -> None:
    *_, update, S = sums(9, 4)
    s = te.create_schedule(S)
    before, after = s[S].split("t", factor=3)
    with pytest.raises(DependenceError, match=r"loop 't\.o' of 'S' runs over time.*can't be put elsewhere"):
        s[S].reorder(after, before)
    with pytest.raises(DependenceError, match=r"inside the loop over time, 't\.i'"):
        s[update].compute_at(s[S], before)
    s[update].compute_inline()
    with pytest.raises(DependenceError, match=r"runs over time.*can't be fused with 'i'"):
        s[S].fuse(after, "i")
    s[S].fuse(before, after)
    check_meaning(s, compiled=True)
    check_round_trip(s)


def test_a_stage_of_it_is_seen_only_inside() -> None:
    _, _, update, S = sums(6, 4)
    C = te.compute((6, 4), lambda t, i: update[t, i] + S[t, i], name="C")
    with pytest.raises(OutputError, match="'C' reads 'update', a stage of a recurrence"):
        te.create_schedule(C)
    with pytest.raises(OutputError, match="'update' is a stage of a recurrence"):
        te.create_schedule([S, update])
    with pytest.raises(OutputError, match="'update' reads 'state', the state of 'S', which is not here"):
        te.create_schedule(update)


def test_refusals() -> None:
    X, state = te.placeholder((6, 4), name="X"), te.placeholder((6, 4), name="state")

    def init(*shape: int, dtype: str = "float32") -> Tensor:
        found: Tensor = te.compute(shape, lambda *i: te.const(1, dtype), name="init")
        return found

    def update(at: Callable[[te.Axis, te.Axis], te.Expr]) -> Tensor:
        found: Tensor = te.compute((6, 4), at, name="update")
        return found

    good = update(lambda t, i: state[t - 1, i])
    for time in (lambda t: t, lambda t: t + 1, lambda t: 5 - t, lambda t: te.maximum(t - 1, 2)):
        with pytest.raises(AxisError, match=r"update reads state.* for time t, and only earlier rows are there"):
            te.scan(init(1, 4), update(lambda t, i, time=time: state[time(t), i]), state)  # type: ignore[misc]
    with pytest.raises(ShapeError, match=r"do not fit each other: init\[1, 5\], update\[6, 4\], state\[6, 4\]"):
        te.scan(init(1, 5), good, state)
    with pytest.raises(ShapeError, match="init has 0 rows, and state 6"):
        te.scan(init(0, 4), good, state)
    with pytest.raises(DtypeError, match="init int32, update float32, state float32"):
        te.scan(init(1, 4, dtype="int32"), good, state)
    with pytest.raises(ExpressionError, match="2 states, 1 inits and 1 updates"):
        te.scan([init(1, 4)], [good], [state, X])
    with pytest.raises(ExpressionError, match="3 is no tensor"):
        te.scan(3, good, state)
    with pytest.raises(ExpressionError, match="the state update is computed"):
        te.scan(init(1, 4), good, good)
    half = te.compute((3, 4), lambda t, i: state[t, i], name="half")
    with pytest.raises(ShapeError, match="half is part of the recurrence, and its first dimension is not time"):
        te.scan(init(1, 4), update(lambda t, i: half[t // 2, i]), state)
    late = te.compute((6, 4), lambda t, i: state[t - 1, i], name="late")
    with pytest.raises(AxisError, match="is there for one time only"):
        te.scan(init(1, 4), update(lambda t, i: late[t - 1, i]), state)
    copied = te.extern((6, 4), [state], lambda a, out: None, name="copied")
    with pytest.raises(ExpressionError, match=r"copied is no te\.compute, and reads a state"):
        te.scan(init(1, 4), update(lambda t, i: copied[t, i]), state)
    with pytest.raises(AxisError, match="init begins reads a state"):
        te.scan(te.compute((1, 4), lambda t, i: state[t, i], name="begins"), good, state)
    te.scan(init(1, 4), good, state)
    with pytest.raises(ExpressionError, match="state is the state of a scan already"):
        te.scan(init(1, 4), good, state)
