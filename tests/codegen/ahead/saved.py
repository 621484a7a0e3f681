"""Kernels that the tests save, and their data as C has it."""

from __future__ import annotations

import numpy as np

import flashsched as fs
from flashsched import te
from flashsched.codegen.kernel import Kernel


def product(m: int = 37, n: int = 50, k: int = 29, target: str = "cpu") -> Kernel:
    """A parallel, vectorized product of matrices."""
    A, B = te.placeholder((m, k), name="A"), te.placeholder((k, n), name="B")
    r = te.reduce_axis((0, k), name="k")
    C = te.compute((m, n), lambda i, j: te.sum(A[i, r] * B[r, j], axis=r), name="C")
    s = te.create_schedule(C)
    i, j = s[C].op.axis
    jo, ji = s[C].split(j, factor=16)
    s[C].reorder(i, jo, r, ji)
    s[C].vectorize(ji)
    s[C].parallel(i)
    return fs.build(s, [A, B, C], target=target, name="mm")


def array(name: str, values: np.ndarray, kind: str = "float") -> str:
    """A C array of these values."""
    return f"static const {kind} {name}[] = {{{', '.join(repr(v) for v in values.ravel().tolist())}}};\n"


def filled(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)
