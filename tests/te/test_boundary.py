"""Boundaries: each is a mode of np.pad, reads nothing outside, and lets a consumer's window stay a window."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashsched import te
from flashsched.codegen.lower import lower
from flashsched.errors import DtypeError, ShapeError
from flashsched.schedule.ir import Alloc, walk_stmt
from flashsched.te.boundary import Bounded
from flashsched.te.evaluate import run_graph
from flashsched.te.tensor import Tensor
from flashsched.testing.checks import check_meaning, check_round_trip

MODES: dict[str, Callable[[Tensor], Bounded]] = {
    "edge": te.boundary.clamp,
    "symmetric": te.boundary.mirror,
    "reflect": lambda A: te.boundary.mirror(A, edge=False),
    "wrap": te.boundary.wrap,
    "constant": lambda A: te.boundary.constant(A, 7.0),
}


def padded(mode: str, m: int, n: int, before: int, after: int) -> tuple[Tensor, Tensor]:
    A = te.placeholder((m, n), name="A")
    P = MODES[mode](A)
    return A, te.compute((m + before + after, n + after), lambda i, j: P[i - before, j], name="C")


@settings(max_examples=80, deadline=None)
@given(
    mode=st.sampled_from(list(MODES)),
    m=st.integers(1, 7),
    n=st.integers(1, 7),
    before=st.integers(0, 16),
    after=st.integers(0, 16),
)
def test_each_is_a_mode_of_numpys_pad(mode: str, m: int, n: int, before: int, after: int) -> None:
    A, C = padded(mode, m, n, before, after)
    a = np.random.default_rng(0).integers(-9, 9, (m, n)).astype("float32")
    extra = {"constant_values": 7.0} if mode == "constant" else {}
    wanted = np.pad(a, ((before, after), (0, after)), mode=mode, **extra)  # type: ignore[call-overload]
    np.testing.assert_array_equal(run_graph([C], {A: a})[0], wanted)


@settings(max_examples=25, deadline=None)
@given(
    mode=st.sampled_from(list(MODES)),
    n=st.integers(1, 17),
    reach=st.integers(0, 2),
    factor=st.integers(1, 8),
    tail=st.sampled_from(["guard", "cut"]),
    data=st.data(),
)
def test_a_stage_read_across_its_border_is_computed_at_its_reader(
    mode: str, n: int, reach: int, factor: int, tail: str, data: st.DataObject
) -> None:
    A = te.placeholder((n,), name="A")
    S = te.compute((n,), lambda i: A[i] * 2 + 1, name="S")
    P = MODES[mode](S)
    C = te.compute((n,), lambda i: sum((P[i + d] for d in range(-reach, reach + 1)), te.const(0.0)), name="C")
    s = te.create_schedule(C)
    outer, inner = s[C].split("i", factor=factor, tail=tail)
    s[S].compute_at(s[C], outer if data.draw(st.booleans()) else inner)
    if data.draw(st.booleans()):
        s[C].parallel(outer)
    elif s[S].loops and data.draw(st.booleans()):
        s[S].vectorize("i")
    check_meaning(s, compiled=True)
    check_round_trip(s)


@pytest.mark.parametrize(("mode", "rows"), [("edge", 10), ("symmetric", 10), ("reflect", 10), ("constant", 10)])
def test_a_window_over_a_border_stays_a_window(mode: str, rows: int) -> None:
    A = te.placeholder((64, 8), name="A")
    S = te.compute((64, 8), lambda i, j: A[i, j] + 1, name="S")
    P = MODES[mode](S)
    C = te.compute((64, 8), lambda i, j: P[i - 1, j] + P[i + 1, j], name="C")
    s = te.create_schedule(C)
    outer, _ = s[C].split("i", factor=8)
    s[S].compute_at(s[C], outer)
    check_meaning(s)
    (alloc,) = [node for node in walk_stmt(lower(s).body) if isinstance(node, Alloc)]
    assert alloc.buffer.shape == (rows, 8)


def test_only_an_index_that_can_leave_is_held() -> None:
    A = te.placeholder((8, 9), name="A")
    clamped = te.boundary.clamp(A)
    C = te.compute((8, 9), lambda i, j: clamped[i, j] + clamped(i + 1, j - 1), name="C")
    assert str(C.op.body[0]) == "A[i, j] + A[min(i + 1, 7), max(j - 1, 0)]"
    assert (clamped.shape, clamped.dtype, repr(clamped)) == ((8, 9), "float32", "te.boundary.clamp(A)")
    padded = te.boundary.constant(A, 0)
    assert str(te.compute((8, 9), lambda i, j: padded[i, j], name="C").op.body[0]) == "A[i, j]"


def test_refusals() -> None:
    A, none = te.placeholder((8,), name="A"), te.placeholder((0, 3), name="N")
    for helper in (te.boundary.clamp, te.boundary.mirror, te.boundary.wrap):
        with pytest.raises(ShapeError, match=r"N of shape \[0, 3\] has no element"):
            helper(none)
        with pytest.raises(ShapeError, match="takes a tensor, not int 3"):
            helper(3)  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match="constant takes a tensor, not int"):
        te.boundary.constant(3, 0)  # type: ignore[arg-type]
    with pytest.raises(DtypeError, match="1 is int32, and A holds float32"):
        te.boundary.constant(A, te.const(1))
    with pytest.raises(DtypeError, match="index 0 is float32, not an integer"):
        te.boundary.clamp(A)[te.const(1.0)]
    with pytest.raises(ShapeError, match="2 indices, and A has 1 dimension"):
        te.boundary.clamp(A)[1, 2]
