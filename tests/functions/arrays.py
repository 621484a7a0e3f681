"""Random arrays for the functions."""

from __future__ import annotations

import numpy as np

RNG = np.random.default_rng(0)


def normal(*shape, dtype="float32"):
    return RNG.standard_normal(shape).astype(dtype)
