"""Found by the fuzzer: compute_at asked for a part whose bound divides by a size that may be 0."""

from __future__ import annotations

from flashsched import te
from flashsched.testing.fuzz import check_kept


def test_23b7770451() -> None:
    n = te.var('n')
    m = te.var('m')
    P0 = te.placeholder((n, m), 'float32', 'P0')
    S2 = te.compute((n, m), lambda i0, i1: (te.select(te.all((n > 0), (m > 0)), P0[0, 0], te.const(1.0, 'float32')) + 1.0), 'S2')
    S3_k0 = te.reduce_axis((0, 3), 'k0')
    S3 = te.compute((), lambda: te.min(te.minimum(te.maximum((te.minimum(te.maximum(te.select(te.all((n > 0), (m > 0)), S2[te.minimum(te.maximum((S3_k0 - 1), 0), (n - 1)), 0], te.const(1.0, 'float32')), -8.0), 8.0) + te.minimum(te.maximum(te.select(te.all((n > 0), (m > 0)), S2[(S3_k0 % n), 0], te.const(1.0, 'float32')), -8.0), 8.0)), -64.0), 64.0), axis=[S3_k0]), 'S3')
    S1 = te.compute((0,), lambda i: te.minimum(te.maximum((te.const(3.0, 'float32') + 1.0), -8.0), 8.0), 'S1')
    s = te.create_schedule([S3, S1])
    k0 = s[S3].op.reduce_axis[0]
    s[S2].compute_at(s[S3], k0)
    check_kept(s, [P0], feed=0, exact=True)
