"""scan: the tutorial as it is published, over ``te.var`` sizes; the functions are called for arrays of several."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from flashsched.compat import tvm
from flashsched.compat.tvm import te

RNG = np.random.default_rng(0)
SHAPES = [(1, 1), (1, 5), (10, 37), (7, 13), (3, 1024), (4, 0)]


def cumulative() -> tuple[Any, Any, Any, Any]:
    m = te.var("m")
    n = te.var("n")
    X = te.placeholder((m, n), name="X")
    s_state = te.placeholder((m, n))
    s_init = te.compute((1, n), lambda _, i: X[0, i])
    s_update = te.compute((m, n), lambda t, i: s_state[t - 1, i] + X[t, i])
    s_scan = tvm.te.scan(s_init, s_update, s_state, inputs=[X])
    return X, s_init, s_update, s_scan


def run(module: Any, x: Any, *shapes: tuple[int, ...]) -> list[Any]:
    outs = [tvm.nd.empty(shape) for shape in shapes]
    module(tvm.nd.array(x), *outs)
    return [out.numpy() for out in outs]


@pytest.mark.parametrize("how", ["plain", "threads", "vectors", "parallel"])
def test_the_cumulative_sum(how: str) -> None:
    X, s_init, s_update, s_scan = cumulative()
    s = te.create_schedule(s_scan.op)
    for stage in (s_init, s_update) if how != "plain" else ():
        xo, xi = s[stage].split(stage.op.axis[1], factor=256 if how == "threads" else 8)
        match how:
            case "threads":
                s[stage].bind(xo, te.thread_axis("blockIdx.x"))
                s[stage].bind(xi, te.thread_axis("threadIdx.x"))
            case "vectors":
                s[stage].vectorize(xi)
            case _:
                s[stage].parallel(xo)
    assert "range(m - 1)" in str(tvm.lower(s, [X, s_scan], simple_mode=True))
    fscan = tvm.build(s, [X, s_scan], "llvm", name="myscan")
    for shape in SHAPES:
        x = RNG.random(shape, "float32")
        tvm.testing.assert_allclose(run(fscan, x, shape)[0], np.cumsum(x, axis=0), rtol=1e-5)


def test_several_stages_in_a_cell() -> None:
    m, n = te.var("m"), te.var("n")
    X = te.placeholder((m, n), name="X")
    s_state = te.placeholder((m, n))
    s_init = te.compute((1, n), lambda _, i: X[0, i])
    s_update_s1 = te.compute((m, n), lambda t, i: s_state[t - 1, i] * 2, name="s1")
    s_update_s2 = te.compute((m, n), lambda t, i: s_update_s1[t, i] + X[t, i], name="s2")
    s_scan = tvm.te.scan(s_init, s_update_s2, s_state, inputs=[X])
    s = te.create_schedule(s_scan.op)
    xo, _ = s[s_update_s2].split(s_update_s2.op.axis[1], factor=32)
    s[s_update_s1].compute_at(s[s_update_s2], xo)
    assert "s1 = alloc(float32[1, 32]" in str(tvm.lower(s, [X, s_scan], simple_mode=True))
    module = tvm.build(s, [X, s_scan])
    for shape in SHAPES:
        x = RNG.random(shape, "float32")
        wanted = x.copy()
        for t in range(1, shape[0]):
            wanted[t] += 2 * wanted[t - 1]
        tvm.testing.assert_allclose(run(module, x, shape)[0], wanted, rtol=1e-5)


def test_several_states() -> None:
    m, n, width = te.var("m"), te.var("n"), te.var("l")
    X = te.placeholder((m, n), name="X")
    s_state1 = te.placeholder((m, n))
    s_state2 = te.placeholder((m, width))
    s_init1 = te.compute((1, n), lambda _, i: X[0, i])
    s_init2 = te.compute((1, width), lambda _, i: 0.0)
    s_update1 = te.compute((m, n), lambda t, i: s_state1[t - 1, i] + X[t, i])
    s_update2 = te.compute((m, width), lambda t, i: s_state2[t - 1, i] + s_state1[t - 1, 0])
    s_scan1, s_scan2 = tvm.te.scan([s_init1, s_init2], [s_update1, s_update2], [s_state1, s_state2], inputs=[X])
    s = te.create_schedule(s_scan1.op)
    module = tvm.build(s, [X, s_scan1, s_scan2])
    for rows, columns, others in [(1, 1, 1), (5, 3, 4), (7, 13, 1)]:
        x = RNG.random((rows, columns), "float32")
        sums = x.cumsum(axis=0)
        one, two = run(module, x, (rows, columns), (rows, others))
        tvm.testing.assert_allclose(one, sums, rtol=1e-5)
        firsts = np.concatenate([np.zeros(1, "float32"), sums[:-1, 0].cumsum()])
        tvm.testing.assert_allclose(two, np.repeat(firsts[:, None], others, 1), rtol=1e-5)
