"""scan: the tutorial's recurrences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from flashsched.compat import tvm
from flashsched.compat.tvm import te
from flashsched.errors import AxisError, ScheduleError

M, N = 9, 21
RNG = np.random.default_rng(0)


def cumulative(stages: int) -> tuple[Any, Any, list[Any], Any]:
    X = te.placeholder((M, N), name="X")
    s_state = te.placeholder((M, N))
    s_init = te.compute((1, N), lambda _, i: X[0, i], name="s_init")
    if stages == 1:
        updates = [te.compute((M, N), lambda t, i: s_state[t - 1, i] + X[t, i], name="s_update")]
    else:
        first = te.compute((M, N), lambda t, i: s_state[t - 1, i] * 2, name="s1")
        updates = [first, te.compute((M, N), lambda t, i: first[t, i] + X[t, i], name="s2")]
    return X, s_init, updates, te.scan(s_init, updates[-1], s_state, inputs=[X])


def run(s: Any, args: list[Any], x: Any) -> list[Any]:
    outs = [tvm.nd.empty(tuple(map(int, t.shape)), t.dtype) for t in args[1:]]
    tvm.build(s, args, "llvm", name="scan")(tvm.nd.array(x), *outs)
    return [out.numpy() for out in outs]


def test_the_cumulative_sum() -> None:
    X, s_init, (s_update,), s_scan = cumulative(1)
    s = te.create_schedule(s_scan.op)
    s[s_init].split(s_init.op.axis[1], factor=4)
    xo, xi = s[s_update].split(s_update.op.axis[1], factor=4)
    s[s_update].vectorize(xi)
    assert isinstance(s_scan.op, te.ScanOp)
    assert s_scan.op.tag == ""
    assert {t.name for t in s_scan.op.input_tensors} == {"s_init", "s_update"}
    assert s_scan.op.scan_axis.dom.extent.value == M - 1
    assert xo.dom.extent.value == 6
    assert "in order" in str(s)
    assert "for " in str(tvm.lower(s, [X, s_scan], simple_mode=True))
    x = RNG.random((M, N), "float32")
    tvm.testing.assert_allclose(run(s, [X, s_scan], x)[0], x.cumsum(axis=0), rtol=1e-5)


def test_several_stages() -> None:
    X, _, (first, second), s_scan = cumulative(2)
    s = te.create_schedule(s_scan.op)
    xo, _ = s[second].split(second.op.axis[1], factor=32)
    s[first].compute_at(s[second], xo)
    x = RNG.random((M, N), "float32")
    wanted = x.copy()
    for t in range(1, M):
        wanted[t] += 2 * wanted[t - 1]
    tvm.testing.assert_allclose(run(s, [X, s_scan], x)[0], wanted, rtol=1e-5)


def test_several_states() -> None:
    width = 13
    X = te.placeholder((M, N), name="X")
    s_state1, s_state2 = te.placeholder((M, N)), te.placeholder((M, width))
    s_init1 = te.compute((1, N), lambda _, i: X[0, i], name="i1")
    s_init2 = te.compute((1, width), lambda _, i: te.const(0.0, "float32"), name="i2")
    s_update1 = te.compute((M, N), lambda t, i: s_state1[t - 1, i] + X[t, i], name="u1")
    s_update2 = te.compute((M, width), lambda t, i: s_state2[t - 1, i] + s_state1[t - 1, 0], name="u2")
    s_scan1, s_scan2 = te.scan([s_init1, s_init2], [s_update1, s_update2], [s_state1, s_state2], inputs=[X])
    s = te.create_schedule(s_scan1.op)
    assert len(s_scan1.op.spatial_axis_) == 2
    x = RNG.random((M, N), "float32")
    one, two = run(s, [X, s_scan1, s_scan2], x)
    sums = x.cumsum(axis=0)
    tvm.testing.assert_allclose(one, sums, rtol=1e-5)
    firsts = np.concatenate([np.zeros(1, "float32"), sums[:-1, 0].cumsum()])
    tvm.testing.assert_allclose(two, np.repeat(firsts[:, None], width, 1), rtol=1e-5)


def test_time_comes_in_order() -> None:
    _, _, _, s_scan = cumulative(1)
    s = te.create_schedule(s_scan.op)
    with pytest.raises(ScheduleError):
        s[s_scan].parallel(s_scan.op.scan_axis)
    X, state = te.placeholder((M, N), name="X"), te.placeholder((M, N))
    init = te.compute((1, N), lambda _, i: X[0, i])
    update = te.compute((M, N), lambda t, i: state[t, i] + X[t, i])
    with pytest.raises(AxisError, match="only earlier rows are there"):
        te.scan(init, update, state)
