"""whole_vectors: what all lanes agree on is asked of the first, and nothing else is."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from flashsched import te
from flashsched.codegen.gpu.build import build_gpu
from flashsched.codegen.gpu.target import GpuArch
from flashsched.codegen.interpreter import interpret
from flashsched.codegen.passes.whole_vectors import whole_vectors
from flashsched.schedule.ir import Buffer, For, If, Load, LoopKind, Seq, Store, stmt_exprs
from flashsched.schedule.program import Program
from flashsched.te import dtypes
from flashsched.te.expr import Const, Select, Var, compare, const
from flashsched.te.visit import uses, walk

ROUNDS = 9


def index(value: int) -> Const:
    return Const(value, dtypes.INDEX)


@settings(max_examples=60, deadline=None)
@given(
    op=st.sampled_from(["<", "<=", ">", ">="]),
    step=st.integers(-8, 8).filter(bool),
    factor=st.integers(-2, 2).filter(bool),
    start=st.integers(-20, 20),
    width=st.integers(1, 4),
)
def test_lanes_that_agree_ask_once(op: str, step: int, factor: int, start: int, width: int) -> None:
    x, lane = Var("x", dtypes.INDEX), Var("lane", dtypes.INDEX)
    C = Buffer("C", (ROUNDS, width), "float32")
    condition = compare(op, x * step + lane * factor + start, 0)
    chosen = Store(C, (x, lane), Select(condition, const(1.0, "float32"), const(0.0, "float32")))
    raised = If(condition, Store(C, (x, lane), Load(C, (x, lane)) + const(2.0, "float32")))
    body = For(x, index(ROUNDS), For(lane, index(width), Seq((chosen, raised)), LoopKind.VECTORIZE), LoopKind.SERIAL)
    changed = whole_vectors(body)
    before, after = (interpret(Program("p", (), (C,), stmt), [])[0] for stmt in (body, changed))
    np.testing.assert_array_equal(before, after)
    conditions = [node for expr in stmt_exprs(changed) for node in walk(expr) if node.dtype == "bool"]
    asked = any(uses(node, lane) for node in conditions)
    holds = [[eval(f"{x * step + lane * factor + start} {op} 0") for lane in range(width)] for x in range(-60, 60)]
    assert asked is any(len(set(lanes)) > 1 for lanes in holds)


def test_a_row_of_whole_vectors_is_read_by_vectors() -> None:
    for columns, wide in ((40, True), (41, False)):
        A = te.placeholder((columns,), name="A")
        B = te.compute((64,), lambda i, A=A, n=columns: te.select(i < n, A[i], 0.0), name="B")
        s = te.create_schedule(B)
        thread, lanes = s[B].split("i", factor=4)
        s[B].bind(thread, "threadIdx.x")
        s[B].vectorize(lanes)
        assert ("ld.global.nc.v4" in build_gpu(s, [A, B], GpuArch("sm_80")).ptx()) is wide
