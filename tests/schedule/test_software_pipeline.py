"""software_pipeline: pieces of a loop's body on different turns."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flashsched import te
from flashsched.codegen.lower import lower
from flashsched.errors import ArgumentError, DependenceError, LimitError, StructureError
from flashsched.schedule.ir import Alloc, walk_stmt
from flashsched.schedule.pipelines import Piece, plan
from flashsched.schedule.schedule import Schedule
from flashsched.te.tensor import Tensor
from flashsched.testing.checks import check_meaning, check_round_trip
from flashsched.testing.programs import argmax, chain, matmul


def held(s: Schedule) -> dict[str, tuple[int, ...]]:
    return {node.buffer.name: node.buffer.shape for node in walk_stmt(lower(s).body) if isinstance(node, Alloc)}


def three(n: int, m: int) -> tuple[Schedule, Tensor, Tensor, Tensor]:
    """Q of A, P of Q, C of P and Q, both computed at C's rows."""
    A = te.placeholder((n, m), name="A")
    Q = te.compute((n, m), lambda i, j: A[i, j] + 1, name="Q")
    P = te.compute((n, m), lambda i, j: Q[i, j] * 2, name="P")
    C = te.compute((n, m), lambda i, j: P[i, j] - Q[i, j], name="C")
    s = te.create_schedule(C)
    s[P].compute_at(s[C], "i")
    s[Q].compute_at(s[C], "i")
    return s, Q, P, C


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(0, 7), m=st.integers(1, 5), order=st.permutations(range(3)),
    first=st.integers(0, 2), second=st.integers(0, 2),
)  # fmt: skip
def test_any_stages_in_any_order_that_are_accepted(n: int, m: int, order: list[int], first: int, second: int) -> None:
    s, _, _, C = three(n, m)
    stages = [0, first, first + second]
    late = [(stages[x], order[x]) >= (stages[y], order[y]) for x, y in ((0, 1), (0, 2), (1, 2))]
    if any(late):
        with pytest.raises(DependenceError, match="would run before it is computed"):
            s[C].software_pipeline("i", stages=stages, order=order)
    else:
        s[C].software_pipeline("i", stages=stages, order=order)
        check_meaning(s, compiled=True)
        check_round_trip(s)


def test_versions_are_those_that_are_alive() -> None:
    for stages, order, wanted in (
        ([0, 1, 2], [0, 1, 2], {"Q": (3, 1, 4), "P": (2, 1, 4)}),
        ([0, 1, 2], [2, 1, 0], {"Q": (2, 1, 4), "P": (1, 4)}),
        ([0, 0, 1], [0, 1, 2], {"Q": (2, 1, 4), "P": (2, 1, 4)}),
        ([0, 0, 0], [0, 1, 2], {"Q": (1, 4), "P": (1, 4)}),
    ):
        s, _, _, C = three(6, 4)
        s[C].software_pipeline("i", stages=stages, order=order)
        assert held(s) == wanted
        check_meaning(s, compiled=True)


def test_the_steps() -> None:
    s, _, _, C = three(6, 1)
    s[C].software_pipeline("i", stages=[0, 1, 2])
    assert str(lower(s)).split("\n")[3:] == [
        "  Q[0, 0, 0] = A[0, 0] + 1.0",
        "  Q[1, 0, 0] = A[1, 0] + 1.0",
        "  P[0, 0, 0] = Q[0, 0, 0] * 2.0",
        "  for i in range(4):",
        "    Q[(i + 2) % 3, 0, 0] = A[i + 2, 0] + 1.0",
        "    P[(i + 1) % 2, 0, 0] = Q[(i + 1) % 3, 0, 0] * 2.0",
        "    C[i, 0] = P[i % 2, 0, 0] - Q[i % 3, 0, 0]",
        "  P[1, 0, 0] = Q[2, 0, 0] * 2.0",
        "  C[4, 0] = P[0, 0, 0] - Q[1, 0, 0]",
        "  C[5, 0] = P[1, 0, 0] - Q[2, 0, 0]",
    ]


@settings(max_examples=15, deadline=None)
@given(m=st.integers(1, 6), n=st.integers(1, 9), k=st.integers(0, 11), step=st.integers(1, 4), deep=st.integers(1, 3))
def test_a_reduction_is_initialised_before(m: int, n: int, k: int, step: int, deep: int) -> None:
    A, B, C = matmul(m, n, k)
    s = te.create_schedule(C)
    near, far = s.cache_read(A, "local", [C]), s.cache_read(B, "local", [C])
    ko, ki = s[C].split("k", step)
    s[C].reorder(ko, "i", "j", ki)
    s[near].compute_at(s[C], ko)
    s[far].compute_at(s[C], ko)
    s[C].software_pipeline(ko, stages=[0, deep - 1, deep])
    check_meaning(s, compiled=True)
    check_round_trip(s)


@settings(max_examples=10, deadline=None)
@given(n=st.integers(1, 6), k=st.integers(1, 5))
def test_several_outputs_and_reductions_inside_a_turn(n: int, k: int) -> None:
    _, at, value = argmax(n, k)
    C = te.compute((n,), lambda i: at[i] + value[i], name="C")
    s = te.create_schedule(C)
    s[at].compute_at(s[C], "i")
    s[C].software_pipeline("i", stages=[0, 1])
    check_meaning(s, compiled=True)


def test_what_comes_later_runs_with_the_first_that_needs_it() -> None:
    _, P, C = chain(6, 4)
    s = te.create_schedule(C)
    s[P].compute_at(s[C], "i0")
    s[C].software_pipeline("i0", stages=[0, 1])
    assert str(s).split("\n")[0] == "for i0 in range(6):  # pipeline={'P': (0, 0), 'C': (1, 1)}"
    copy = s.cache_read("A", "local", [P])
    s[copy].compute_at(s[C], "i0")
    assert held(s) == {"A.local": (1, 4), "P": (2, 1, 4)}
    s[P].split("i1", 2)
    s[C].vectorize("i1")
    check_meaning(s, compiled=True)
    check_round_trip(s)


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(n=st.integers(1, 9), factor=st.integers(1, 4), outer=st.booleans(), parallel=st.booleans())
def test_it_moves_with_its_stage(n: int, factor: int, outer: bool, parallel: bool) -> None:
    _, P, M = chain(n, 4)
    C = te.compute((n, 4), lambda i, j: M[i, j] + 1, name="out")
    s = te.create_schedule(C)
    s[P].compute_at(s[M], "i0")
    s[M].software_pipeline("i0", stages=[0, 1])
    o, i = s[C].split("i", factor)
    s[M].compute_at(s[C], o if outer else i)
    s[C].parallel(o) if parallel else None
    check_meaning(s, compiled=True)
    check_round_trip(s)


def test_software_pipeline_refuses() -> None:
    s, Q, _, C = three(6, 4)
    for stages, order, says in (
        ([0, 1], None, r"stages has 2 numbers, and the body of loop 'i' has 3 pieces: Q, P, C"),
        ([1, 1, 1], None, "stages are counted from 0"),
        ([-1, 0, 1], None, "stages are counted from 0"),
        ([0, 0, 1], [0, 1, 1], "order must name each of the places 0 to 2 once"),
    ):
        with pytest.raises(ArgumentError, match=says):
            s[C].software_pipeline("i", stages=stages, order=order)
    with pytest.raises(LimitError, match="9 stages, and 8 is the limit"):
        s[C].software_pipeline("i", stages=[0, 0, 8])
    with pytest.raises(DependenceError, match=r"(?s)'C' needs 'P', and would run before it is computed.*hint: a piece"):
        s[C].software_pipeline("i", stages=[0, 1, 0])
    t = s.copy()
    t[C].parallel("i")
    with pytest.raises(StructureError, match="loop 'i' is marked parallel, and pipelined"):
        t[C].software_pipeline("i", stages=[0, 0, 1])
    s[C].software_pipeline("i", stages=[0, 0, 1])
    with pytest.raises(StructureError, match="loop 'i' is pipelined already"):
        s[C].software_pipeline("i", stages=[0, 0, 1])
    with pytest.raises(StructureError, match="loop 'i' is marked with software_pipeline, and can't be split"):
        s[C].split("i", 2)
    with pytest.raises(StructureError, match=r"(?s)pipelines 'Q', which is not computed in it.*software_pipeline last"):
        s[Q].compute_root()


def test_what_outlives_a_turn_stays_together() -> None:
    writer, reader = Piece(frozenset("W"), frozenset("A")), Piece(frozenset("C"), frozenset("W"))
    with pytest.raises(DependenceError, match=r"'W' and 'C' share 'W', which outlives the turn"):
        plan([writer, reader], (), {"W": (0, 0), "C": (1, 1)})
    assert plan([writer, reader], (), {"W": (0, 0), "C": (0, 1)}).versions == {}
    assert plan([writer, reader], {"W"}, {"W": (0, 0), "C": (1, 1)}).versions == {"W": 2}
