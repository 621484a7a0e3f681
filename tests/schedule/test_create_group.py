"""create_group: stages that move together."""

from __future__ import annotations

import pytest

from flashsched import te
from flashsched.errors import ArgumentError, OutputError, ScheduleError
from flashsched.testing.checks import check_meaning, check_round_trip
from flashsched.testing.programs import chain, diamond


@pytest.mark.parametrize("include", [False, True])
@pytest.mark.parametrize("n", [1, 7, 8])
def test_a_group_moves_to_a_loop_and_back(n: int, include: bool) -> None:
    _, P, L, R, C = diamond(n)
    s = te.create_schedule(C)
    outer, _ = s[C].split("i", 4)
    before = str(s)
    g = s.create_group(outputs=[L, R], inputs=[P], include_inputs=include)
    assert [view.name for view in g.stages] == (["P", "L", "R"] if include else ["L", "R"])
    g.compute_at(s[C], outer)
    assert {view.name for view in g.stages} == {n for n, v in s.state.stages.items() if v.attach == ("C", outer.name)}
    check_meaning(s, compiled=True)
    check_round_trip(s)
    g.compute_root()
    assert str(s) == before


def test_copies_on_the_way_belong_to_it() -> None:
    A, P, C = chain(6)
    D = te.compute((6,), lambda i: C[i] - 1, name="D")
    s = te.create_schedule(D)
    copy = s.cache_read(P, "local")
    g = s.create_group(outputs=C, inputs=A)
    assert repr(g) == "<group of P, P.local, C>"
    g.compute_at(s[D], "i")
    assert s.state.stages[copy.name].attach == ("D", "i")
    check_meaning(s, compiled=True)


def test_all_or_none() -> None:
    A, P, C = chain(6)
    D = te.compute((6,), lambda i: C[i] - P[i], name="D")
    E = te.compute((6,), lambda i: D[i] * 2, name="E")
    s = te.create_schedule([D, E])
    g = s.create_group(outputs=C, inputs=A)
    before = str(s), s.trace
    with pytest.raises(ScheduleError, match=r"reads 'P' outside|nothing inside"):
        g.compute_at(s[E], "i")
    with pytest.raises(OutputError, match="'D' is an output"):
        s.create_group(outputs=D, inputs=A).compute_at(s[E], "i")
    assert (str(s), s.trace) == before
    g.compute_at(s[D], "i")
    check_meaning(s)


def test_create_group_refuses() -> None:
    A, P, C = chain(6)
    B = te.placeholder((6,), name="B")
    D = te.compute((6,), lambda i: C[i] - B[i], name="D")
    s = te.create_schedule(D)
    with pytest.raises(ArgumentError, match="C does not depend on B"):
        s.create_group(outputs=C, inputs=[A, B])
    with pytest.raises(ArgumentError, match="P does not depend on C"):
        s.create_group(outputs=P, inputs=[C])
    with pytest.raises(ScheduleError, match="A is an input"):
        s.create_group(outputs=A, inputs=[C])
