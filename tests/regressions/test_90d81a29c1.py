"""Found by the fuzzer: Died: ended by SIGSEGV"""

from __future__ import annotations

from flashsched import te
from flashsched.testing.fuzz import check_kept


def test_90d81a29c1() -> None:
    n = te.var('n')
    m = te.var('m')
    P0 = te.placeholder((n, m), 'float32', 'P0')
    S5 = te.compute((n, m), lambda i0, i1: (te.select(te.all((n > 0), (m > 0)), P0[0, 0], te.const(1.0, 'float32')) + 0.5), 'S5')
    S1_k0 = te.reduce_axis((0, n), 'k0')
    S1 = te.compute((), lambda: te.sum(te.select((S1_k0 < (0 + (n - 0))), (te.select(te.all((n > 0), (m > 0)), P0[0, 0], te.const(1.0, 'float32')) + 0.5), te.const(0.0, 'float32')), axis=[S1_k0]), 'S1')
    S2 = te.compute((), lambda: (((te.select(te.all((n > 0), (m > 0)), P0[0, 0], te.const(1.0, 'float32')) + 0.5) / ((te.select(te.all((n > 0), (m > 0)), P0[0, 0], te.const(1.0, 'float32')) + 0.5) + 1.0)) + 0.5), 'S2')
    S3 = te.compute((), lambda: (te.select(te.all((n > 0), (m > 0)), P0[0, 0], te.const(1.0, 'float32')) + 0.5), 'S3')
    S4 = te.compute((m,), lambda i: (((te.select((n > 0), P0[(i % n), i], te.const(1.0, 'float32')) + 0.5) / ((te.select((n > 0), P0[(i % n), i], te.const(1.0, 'float32')) + 0.5) + 1.0)) + 0.5).astype('bfloat16'), 'S4')
    s = te.create_schedule([S5, S1, S2, S3, S4])
    check_kept(s, [P0], feed=0, exact=False)
