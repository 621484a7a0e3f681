"""What the interpreter makes of scheduled nests beyond what a lowered nest can hold: inits, and memory of their own."""

from __future__ import annotations

from flashsched import te
from flashsched.testing.checks import check_meaning
from flashsched.testing.programs import argmax, row_sum


def test_a_reduction_over_nothing_leaves_the_identity() -> None:
    for begin, end in [(0, 0), (2, 2)]:
        _, C = row_sum(3, begin, end)
        check_meaning(te.create_schedule(C), compiled=True)


def test_the_sum_of_an_output_that_nobody_reads_outlives_a_parallel_loop_inside_the_reduction() -> None:
    _, _, value = argmax(3, 4)
    s = te.create_schedule(value)  # the place is computed too, and neither read nor asked for
    i, k = *s[value].op.axis, *s[value].op.reduce_axis
    s[value].reorder(k, i)
    s[value].parallel(i)
    check_meaning(s, compiled=True)
