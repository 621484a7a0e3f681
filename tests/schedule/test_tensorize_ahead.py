"""tensorize with double_buffer and software_pipeline: an intrinsic reads, or fills, one of several versions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flashsched as fs
from flashsched import te
from flashsched.codegen.interpreter import interpret
from flashsched.codegen.lower import lower
from flashsched.errors import MatchError
from flashsched.schedule.ir import Alloc, walk_stmt
from flashsched.schedule.schedule import Schedule
from flashsched.te.tensor import Tensor
from flashsched.testing.checks import check_meaning, check_round_trip

from .small_intrinsics import AXPY_RESET, AXPY_UPDATE, UNIT, axpy_tensor

fs.intrinsic("test.ahead", axpy_tensor(), update=AXPY_UPDATE, reset=AXPY_RESET, strides=UNIT, replace=True)
fs.intrinsic("test.ahead.update", axpy_tensor(), update=AXPY_UPDATE, strides=UNIT, replace=True)
NAMES = st.sampled_from(["test.ahead", "test.ahead.update"])
TAILS = st.sampled_from(["guard", "cut"])


def product(m: Any, n: Any, depth: Any) -> tuple[Tensor, Tensor, Tensor]:
    a, b = te.placeholder((m, depth), name="A"), te.placeholder((depth, n), name="B")
    k = te.reduce_axis((0, depth), name="k")
    return a, b, te.compute((m, n), lambda i, j: te.sum(a[i, k] * b[k, j], axis=k), name="C")


def a_row_at_a_time(c: Tensor) -> tuple[Schedule, Tensor]:
    """D = C + 1, for each row of which one of the product *c* is made, by the intrinsic."""
    d = te.compute(c.shape, lambda i, j: c[i, j] + 1, name="D")
    s = te.create_schedule(d)
    s[c].compute_at(s[d], "i")
    jo, ji = s[c].split("j", 4)
    s[c].reorder(jo, "k", ji)
    s[c].tensorize(ji, "test.ahead")
    return s, d


def ahead(s: Schedule, how: str, at: tuple[Tensor, str], *stages: Tensor) -> None:
    """Compute *stages* one turn ahead of the loop that they are computed at."""
    if how == "double_buffer":
        for stage in stages:
            s[stage].double_buffer()
    else:
        s[at[0]].software_pipeline(at[1], stages=[*[0] * len(stages), 1 if how == "pipeline" else 2])


HOW = st.sampled_from(["double_buffer", "pipeline", "deep"])


@settings(max_examples=30, deadline=None)
@given(
    m=st.sampled_from([0, 1, 3]), n=st.sampled_from([4, 7, 12]), depth=st.sampled_from([0, 1, 5, 6]),
    step=st.integers(1, 3), how=HOW, name=NAMES, tail=TAILS, early=st.booleans(),
)  # fmt: skip
def test_it_reads_tiles_that_are_copied_ahead(
    m: int, n: int, depth: int, step: int, how: str, name: str, tail: str, early: bool
) -> None:
    """Both operands of a turn of the reduction, a panel each."""
    a, b, c = product(m, n, depth)
    s = te.create_schedule(c)
    jo, ji = s[c].split("j", 4, tail="cut")
    ko, ki = s[c].split("k", step, tail=tail)
    s[c].reorder(jo, ko, "i", ki, ji)
    if early:
        s[c].tensorize(ji, name)
    copies = [s.cache_read(tensor, "local", [c]) for tensor in (a, b)]
    for copy in copies:
        s[copy].compute_at(s[c], ko)
    ahead(s, how, (c, ko.name), *copies)
    if not early:
        s[c].tensorize(ji, name)
    check_meaning(s, compiled=True)
    check_round_trip(s)


@settings(max_examples=30, deadline=None)
@given(
    m=st.sampled_from([0, 1, 3, 5]), n=st.sampled_from([4, 7, 12]), depth=st.sampled_from([0, 1, 5]),
    factor=st.integers(1, 3), how=HOW, name=NAMES, scope=st.sampled_from(["local", "global"]), align=st.booleans(),
)  # fmt: skip
def test_it_fills_a_tile_that_is_used_a_turn_later(
    m: int, n: int, depth: int, factor: int, how: str, name: str, scope: str, align: bool
) -> None:
    """The intrinsic writes the version of its turn; what it sets to zero is that one, too."""
    _, _, c = product(m, n, depth)
    d = te.compute((m, n), lambda i, j: te.maximum(c[i, j], 0.0), name="D")
    s = te.create_schedule(d)
    io, _ = s[d].split("i", factor)
    s[c].set_scope(scope)
    s[c].compute_at(s[d], io)
    jo, ji = s[c].split("j", 4, tail="cut")
    s[c].reorder(jo, "k", ji)
    if align:
        s[c].storage_align(axis=0, factor=8, offset=1)
    s[c].tensorize(ji, name)
    ahead(s, how, (d, io.name), c)
    check_meaning(s, compiled=True)
    check_round_trip(s)


def test_the_steps_of_the_intrinsic_have_a_version_each() -> None:
    _, _, c = product(6, 8, 5)
    s, _ = a_row_at_a_time(c)
    s[c].double_buffer()
    lowered = lower(s)
    assert [n.buffer.shape for n in walk_stmt(lowered.body) if isinstance(n, Alloc)] == [(2, 1, 8)]
    lines = [line.strip() for line in str(lowered).split("\n")]
    assert lines.count("for reset in range(1):  # tensorize, intrinsic=test.ahead, part=reset") == 2
    assert "C[(i + 1) % 2, 0, j.o * 4 + j.i] = 0.0" in lines
    check_meaning(s, compiled=True)


@pytest.mark.parametrize("how", ["double_buffer", "pipeline", "deep"])
def test_turns_that_only_a_call_tells(how: str) -> None:
    m = te.var("m")
    a, b, c = product(m, 8, 5)
    s, d = a_row_at_a_time(c)
    ahead(s, how, (d, "i"), c)
    kernel, program = fs.build(s, [a, b, d]), lower(s, [a, b, d])
    y = np.arange(40, dtype="float32").reshape(5, 8) % 7
    for rows in range(5):
        x = np.arange(rows * 5, dtype="float32").reshape(rows, 5) % 5
        np.testing.assert_array_equal(kernel(x, y), x @ y + 1)
        np.testing.assert_array_equal(interpret(program, [x, y])[0], x @ y + 1)


def test_what_would_break_the_match_is_refused() -> None:
    """Versions lie one after another: what the instruction needs of a row stays as it was matched."""
    _, _, c = product(4, 8, 5)
    s, _ = a_row_at_a_time(c)
    s[c].double_buffer()
    with pytest.raises(MatchError):
        s[c].transform_layout(lambda i, j: (j, i))
    check_meaning(s, compiled=True)
