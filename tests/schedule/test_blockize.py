"""blockize: a loop and all inside it become one unit."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashsched import te
from flashsched.errors import ScheduleError, StructureError, UnknownNameError
from flashsched.schedule.schedule import Schedule
from flashsched.te.tensor import Tensor
from flashsched.testing.checks import check_meaning, check_round_trip
from flashsched.testing.programs import chain, matmul
from flashsched.testing.schedules import CPU_PRIMITIVES, take_step


def tiled(m: int, n: int, k: int, tail: str = "guard") -> tuple[Schedule, Tensor, Tensor]:
    """A product R = C + 1 of tiles of 4 x 8, its tile of C one unit, the reduction's block inside."""
    *_, C = matmul(m, n, k)
    R = te.compute((m, n), lambda i, j: C[i, j] + 1, name="R")
    s = te.create_schedule(R)
    io, jo, ii, ji = s[C].tile("i", "j", 4, 8, tail=tail)
    ko, ki = s[C].split("k", 3, tail="guard")
    s[C].reorder(io, jo, ko, ki, ii, ji)
    s[C].blockize(ki)
    return s, C, R


@settings(max_examples=30, deadline=None)
@given(
    data=st.data(), m=st.sampled_from([0, 1, 4, 7]), n=st.sampled_from([0, 1, 8, 13]), k=st.sampled_from([0, 1, 6, 7]),
    tail=st.sampled_from(["guard", "cut"]),
)  # fmt: skip
def test_whatever_is_done_afterwards_it_computes_the_same(
    data: st.DataObject, m: int, n: int, k: int, tail: str
) -> None:
    s, *_ = tiled(m, n, k, tail)
    for _ in range(data.draw(st.integers(0, 6))):
        take_step(data.draw, s, data.draw(st.sampled_from(CPU_PRIMITIVES)))
    check_meaning(s, compiled=True)
    check_round_trip(s)


def test_loops_outside_change_places_around_it_and_it_moves_with_its_stage() -> None:
    s, C, R = tiled(8, 16, 6)
    s[C].reorder("k.o", "j.o", "i.o")
    s[C].fuse("j.o", "i.o")
    s[C].vectorize("j.i")
    s[C].unroll("i.i")
    assert [line.strip() for line in str(s).split("\n")[:5]] == [
        "for k.o in range(2):",
        "for j.o.i.o in range(4):",
        "for k.i in range(3):  # unit=('i.i', 'j.i')",
        "for i.i in range(4):  # unroll",
        "for j.i in range(8):  # vectorize",
    ]
    check_meaning(s, compiled=True)
    s[C].compute_at(s[R], "i")
    assert "unit=('i.i', 'j.i')" in str(s)
    check_meaning(s, compiled=True)
    check_round_trip(s)


def test_an_intrinsic_takes_the_unit() -> None:
    *_, C = matmul(4, 32, 8)
    s = te.create_schedule(C)
    jo, ji = s[C].split("j", 16)
    s[C].reorder("i", jo, "k", ji)
    s[C].blockize(ji)
    s[C].tensorize(ji, "x86.fma.f32x16")
    check_meaning(s)
    check_round_trip(s)


@pytest.mark.parametrize(
    ("step", "says"),
    [
        (lambda v: v.split("k.i", 2), r"'k\.i' is marked with blockize, and can't be split"),
        (lambda v: v.fuse("k.o", "k.i"), r"'k\.i' is marked with blockize, and can't be fused"),
        (lambda v: v.split("j.i", 4), r"'k\.i' is a unit with 'i\.i', 'j\.i' inside, and would hold 'i\.i', 'j\.i\.o'"),
        (lambda v: v.reorder("j.i", "i.i"), r"would hold 'j\.i', 'i\.i'"),
        (lambda v: v.reorder("i.i", "k.o"), r"would hold 'k\.o', 'j\.i'"),
        (lambda v: v.reorder("i.i", "k.i"), r"would hold 'j\.i'"),
        (lambda v: v.fuse("i.i", "j.i"), r"would hold 'i\.i\.j\.i'"),
        (lambda v: v.add_unit_loop("j.i"), r"would hold 'i\.i', 'u', 'j\.i'|would hold 'i\.i', "),
        (lambda v: v.blockize("i.o"), r"loop 'k\.i' inside loop 'i\.o' is a unit already"),
    ],
)
def test_no_loop_comes_in_or_goes_out(step: object, says: str) -> None:
    s, C, _ = tiled(8, 16, 6)
    before = str(s)
    with pytest.raises(StructureError, match=says):
        step(s[C])  # type: ignore[operator]
    assert str(s) == before


def test_no_other_stage_is_computed_in_it() -> None:
    _, P, C = chain(6, 8)
    s = te.create_schedule(C)
    s[C].blockize("i1")
    with pytest.raises(StructureError, match=r"(?s)a unit holds one computation, and in loop 'i1' there are 'P', 'C'"):
        s[P].compute_at(s[C], "i1")
    s[P].compute_at(s[C], "i0")
    check_meaning(s, compiled=True)
    with pytest.raises(StructureError, match="compute the others at a loop outside of 'i0'"):
        s[C].blockize("i0")
    with pytest.raises(UnknownNameError, match="no loop named 'q'"):
        s[C].blockize("q")
    with pytest.raises(ScheduleError, match="marked with blockize"):
        s[C].split("i1", 2)
