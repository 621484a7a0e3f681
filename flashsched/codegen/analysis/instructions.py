"""What a thread of a GPU does for a point beside its arithmetic, its accesses and its loops: conditions on indices,
quotients of them, conversions.

Apart from the kernel as a whole (`gpu`), which counts accesses and loops: these follow from one site alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from flashsched.codegen.analysis.forms import Form, written
from flashsched.codegen.analysis.sites import Site
from flashsched.te import dtypes

__all__ = ["GUARD_INSTRUCTIONS", "conversions", "index_instructions"]

GUARD_INSTRUCTIONS = 2.0
"""Comparison and predicate of a condition, each time it is tried."""

QUOTIENT_INSTRUCTIONS = 3.0
"""A quotient or remainder by a number that is no power of two: products with its reciprocal and a sum; the SASS of a
convolution that finds four of them for each element (sm_80, ``nvdisasm``) has 3 for each."""


def index_instructions(site: Site, offsets: Sequence[Form]) -> float:
    """Instructions of a thread for conditions inside of what is computed, and for quotients in them and in *offsets*.

    Each is found once for all turns that it does not depend on, and for all lanes of a vector: of an address, they add
    their number to that of the first, and on a condition they agree.
    """
    lanes = set() if site.vector is None else {site.vector.var}

    def often(form: Form) -> float:
        needs = form.vars - lanes
        return site.repeated(needs) * site.copies(needs)

    number = sum(GUARD_INSTRUCTIONS * often(form) for form in site.tests)
    found = {written(Form({part: 1})): part for form in (*site.tests, *offsets) for part in form.quotients()}
    for part in found.values():
        power = not part.b.terms and part.b.constant & (part.b.constant - 1) == 0
        number += (1.0 if power else QUOTIENT_INSTRUCTIONS) * often(Form({part: 1}))
    return number


def conversions(site: Site) -> float:
    """Instructions of a thread that widen narrow floats, which plain cores compute with as float32."""
    narrow = [t for t in site.touches if dtypes.is_float(t.memory.buffer.dtype) and t.memory.width < 4]
    if site.lanes > 1 or not site.work.flops:
        return 0.0
    return sum(site.repeated(touch.needs) * site.copies(touch.needs) for touch in narrow)
