"""Found by the fuzzer: a row of a scan's stage between, over a size that may be 0, was asked for at an index modulo 0."""

from __future__ import annotations

from flashsched import te
from flashsched.testing.fuzz import check_kept


def test_0d046fefbb() -> None:
    n = te.var('n')
    S3_s0 = te.placeholder((2, 1), 'int32', 'S3_s0')
    S3_s1 = te.placeholder((2, 1), 'int32', 'S3_s1')
    P0 = te.placeholder((n,), 'float32', 'P0')
    P1 = te.placeholder((n, 1), 'float32', 'P1')
    S3_i0 = te.compute((1, 1), lambda i0, i1: (te.select((n > 0), P1[0, 0], te.const(1.0, 'float32')).astype('int32') + 1), 'S3_i0')
    S3_i1 = te.compute((1, 1), lambda i0, i1: (te.select((n > 0), P1[0, 0], te.const(1.0, 'float32')).astype('int32') + 1), 'S3_i1')
    S3_m = te.compute((2, n), lambda i0, i1: (S3_s0[(i0 - 1), 0] + S3_s0[(i0 - 1), 0]), 'S3_m')
    S3_u0 = te.compute((2, 1), lambda i0, i1: (S3_s0[(i0 - 1), 0] + te.select((n > 0), S3_m[i0, (i0 % n)], te.const(1, 'int32'))), 'S3_u0')
    S3_u1 = te.compute((2, 1), lambda i0, i1: (S3_s0[(i0 - 1), 0] + te.select((n > 0), S3_m[i0, (n - 1)], te.const(1, 'int32'))), 'S3_u1')
    S3, S3_v1 = te.scan([S3_i0, S3_i1], [S3_u0, S3_u1], [S3_s0, S3_s1], name='S3')
    s = te.create_schedule([S3_v1, S3])
    check_kept(s, [P0, P1], feed=0, exact=True)
