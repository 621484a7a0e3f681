"""Found by the fuzzer: an element of a tensor over a size that was 0 was prefetched."""

from __future__ import annotations

from flashsched import te
from flashsched.testing.fuzz import check_kept


def test_033ba10298() -> None:
    n = te.var('n')
    P0 = te.placeholder((n,), 'float32', 'P0')
    S5_v0, S5_v1 = te.compute((n,), lambda i: ((te.select((n > 0), P0[0], te.const(1.0, 'float32')) + 1.0), (te.select((n > 0), P0[0], te.const(1.0, 'float32')) + te.select((n > 0), P0[0], te.const(1.0, 'float32')))), 'S5')
    S2_k0 = te.reduce_axis((0, 4), 'k0')
    S2_k1 = te.reduce_axis((0, 1), 'k1')
    S2 = te.compute((), lambda: te.min(te.select((S2_k0 < 0), te.minimum(te.maximum((te.select((n > 0), P0[0], te.const(1.0, 'float32')) + 1.0), -64.0), 64.0), te.const(float('inf'), 'float32')), axis=[S2_k0, S2_k1]), 'S2')
    S3 = te.compute((), lambda: te.minimum(te.maximum((te.select((n > 0), P0[0], te.const(1.0, 'float32')) + 1.0), -8.0), 8.0), 'S3')
    S4 = te.compute((), lambda: te.minimum(te.maximum((te.select((n > 0), P0[0], te.const(1.0, 'float32')) + 1.0), -8.0), 8.0), 'S4')
    s = te.create_schedule([S5_v1, S2, S3, S4, S5_v0])
    k0 = s[S2].op.reduce_axis[0]
    s[S2].prefetch(P0, k0, offset=1)

    i = s[S5_v0].op.axis[0]
    io, _ = s[S5_v0].split(i, nparts=1)
    s[S5_v0].prefetch(P0, io, offset=1)
    check_kept(s, [P0], feed=0, exact=True)
