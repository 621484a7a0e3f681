"""Primitives of one's own: one step, all or nothing, replayed with their code and without."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flashsched as fs
from flashsched import te
from flashsched.errors import ArgumentError, StructureError, TraceError
from flashsched.schedule import Loop, Schedule, StageView, Trace
from flashsched.schedule import own as own_module
from flashsched.te.tensor import Tensor
from flashsched.testing.checks import check_meaning, check_round_trip
from flashsched.testing.programs import argmax, chain, matmul, pointwise


@fs.primitive
def strip(s: Schedule, loop: Any, C: Tensor, width: int = 4) -> Loop:
    """A vector of *width* lanes out of *loop*; returns what is left."""
    outer, inner = s[C].split(loop, factor=width)
    s[C].vectorize(inner)
    return outer


@fs.primitive
def block(s: Schedule, C: Tensor, mr: int = 4, nr: int = 8, *, scope: str = "local") -> tuple[Tensor, list[Loop]]:
    """A register tile, whose accumulators are a stage of their own; calls another primitive of ours."""
    near = s.cache_write(C, scope)
    i, j = s[C].op.axis
    io, ii = s[C].split(i, factor=mr)
    jo, ji = s[C].split(j, factor=nr)
    s[C].reorder(io, jo, ii, ji)
    s[near].compute_at(s[C], jo)
    s[near].reorder("k", "i", "j")
    strip(s, s[near].op.axis[1], near, width=2)
    return near, [io, jo]


@fs.primitive
def unroll_all(s: Schedule, view: StageView, *loops: Loop, parallel: Any = None, **notes: Any) -> None:
    """What a signature may have, all at once."""
    for loop in loops:
        view.unroll(loop)
    if parallel is not None:
        s[parallel["stage"]].parallel(parallel["loop"])


@pytest.fixture
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a stranger sees it: none of these functions is known."""
    monkeypatch.setattr(own_module, "_OWN", {})


def test_it_is_one_step_that_holds_those_that_it_took() -> None:
    *_, C = matmul(16, 16, 16)
    s = te.create_schedule(C)
    near, (io, _) = block(s, C, mr=2)
    s[C].parallel(io)
    s[near].unroll("i")
    assert str(s.trace).split("\n") == [
        "block(C, mr=2)",
        "  C: cache_write('local')",
        "  C: split('i', factor=2)",
        "  C: split('j', factor=8)",
        "  C: reorder('i.o', 'j.o', 'i.i', 'j.i')",
        "  C.local: compute_at('C', 'j.o')",
        "  C.local: reorder('k', 'i', 'j')",
        "  strip(C.local.j, C.local, width=2)",
        "    C.local: split('j', factor=2)",
        "    C.local: vectorize('j.i')",
        "C: parallel('i.o')",
        "C.local: unroll('i')",
    ]
    assert [len(s.trace), len(s.trace.flat())] == [3, 10]
    assert s.trace.to_json()["steps"][0]["returned"] == [
        {"$tensor": "C.local"},
        [{"$loop": ["C", "i.o"]}, {"$loop": ["C", "j.o"]}],
    ]


def test_its_program_calls_it() -> None:
    _, C = pointwise(8, 8)
    s = te.create_schedule(C)
    j = strip(s, C.op.axis[1], C, width=2)
    s[C].unroll(j)
    unroll_all(s, s[C], parallel={"stage": C, "loop": Loop("C", "i0")}, why="fast")
    assert s.to_python() == (
        f"from {__name__} import strip, unroll_all\n"
        "\n"
        "s = te.create_schedule(C)\n"
        "i0, i1 = s[C].op.axis\n"
        "i1o = strip(s, i1, C, width=2)\n"
        "s[C].unroll(i1o)\n"
        'unroll_all(s, s[C], parallel={"stage": C, "loop": i0}, why="fast")\n'
    )
    check_round_trip(s)


def test_a_stranger_sees_the_steps(forgotten: None) -> None:
    *_, C = matmul(16, 16, 16)
    s = te.create_schedule(C)
    block(s, C, mr=2)
    assert s.to_python().splitlines()[:2] == ["s = te.create_schedule(C)", 'C_local = s.cache_write(C, "local")']
    again = Trace.from_json(json.loads(json.dumps(s.trace.to_json()))).replay_on(C)
    assert (again.trace, str(again)) == (s.trace, str(s))


@settings(max_examples=60, deadline=None)
@given(
    m=st.integers(1, 9),
    n=st.integers(1, 9),
    k=st.integers(0, 4),
    mr=st.integers(1, 4),
    nr=st.integers(1, 4),
    known=st.booleans(),
)
def test_any_call_replays_and_means_the_same(m: int, n: int, k: int, mr: int, nr: int, known: bool) -> None:
    *_, C = matmul(m, n, k)
    s = te.create_schedule(C)
    near, (_, jo) = s.do(block, C, mr, nr=nr)
    s[C].unroll(jo)
    unroll_all(s, s[near], "i")
    check_meaning(s)
    if known:
        check_round_trip(s)
    else:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(own_module, "_OWN", {})
            check_round_trip(s)


def test_handles_come_back_as_they_were_given() -> None:
    seen: list[Any] = []

    @fs.primitive(name="look")
    def look(s: Schedule, *args: Any, **kwargs: Any) -> Any:
        seen.append((args, kwargs))
        return args[0]

    A, at, value = argmax(3, 4)
    s = te.create_schedule([at, value])
    k = s[at].op.reduce_axis[0]
    look(s, A, at, value, at.op, s[at], s[at].loops[0], k, [1, 2.5, "x", None, True], table={"a": (A, 1)})
    (args, kwargs), *_ = seen
    assert args[:4] == (A, at, value, at)
    assert (args[4].name, args[5], args[6], args[7]) == ("M", Loop("M", "i"), Loop("M", "k"), [1, 2.5, "x", None, True])
    assert kwargs == {"table": {"a": [A, 1]}}
    check_round_trip(s)
    assert seen[1][0][:4] == (A, at, value, at)


def test_all_or_nothing() -> None:
    *_, C = matmul(8, 8, 8)
    s = te.create_schedule(C)
    before = s.state, s.trace
    with pytest.raises(
        ArgumentError, match=r"^block\(C, nr=0\): split\('j', factor=0\): factor must be at least 1"
    ) as caught:
        block(s, C, nr=0)
    assert "tests/schedule/test_own.py:" in str(caught.value)
    assert (s.state, s.trace) == before
    s[C].unroll("j")
    with pytest.raises(StructureError, match=r"^block\(C\): cache_write\('local'\): 'C' was scheduled already"):
        block(s, C)
    with pytest.raises(ZeroDivisionError):
        s.do(fs.primitive(name="fails")(lambda s: s["C"].unroll("i") or 1 / 0))
    assert len(s.trace) == 1


def test_the_error_of_an_inner_primitive_names_all_three() -> None:
    *_, C = matmul(8, 8, 8)
    outer = fs.primitive(name="outer")(lambda s, C: strip(s, "i", C, width=2))
    with pytest.raises(StructureError, match=r"^outer\(C\): strip\(loop='i', C=C, width=2\): vectorize\('i.i'\): loop"):
        outer(te.create_schedule(C), C)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda s, C: block(s, C, mx=3), r"(?s)^block\(…\): got an unexpected keyword argument 'mx'.*block takes C"),
        (lambda s, C: block(s), "missing a required argument: 'C'"),
        (lambda s, C: block(s, object()), "<object.*can't be kept in a trace"),
        (lambda s, C: block(s, C, mr=float("nan")), "nan can't be kept in a trace"),
        (lambda s, C: block(s, {"$tensor": "C"}), r"can't be kept in a trace"),
        (lambda s, C: block(s, matmul(2, 2, 2)[2]), "C is no stage of this schedule"),
        (lambda s, C: strip(s, matmul(2, 2, 2)[2].op.axis[0], C), "axis 'i' belongs to no stage of this schedule"),
        (lambda s, C: s.do(lambda s: None), r"(?s)is no primitive.*decorate the function with @fs.primitive"),
        (lambda s, C: s.do(fs.primitive(name="odd")(lambda s: object())), "can't be kept in a trace"),
        (lambda s, C: fs.primitive(name="split")(lambda s: None), "there is a built-in primitive 'split'"),
    ],
)
def test_refusals(call: Any, says: str) -> None:
    *_, C = matmul(8, 8, 8)
    s = te.create_schedule(C)
    with pytest.raises(fs.ScheduleError, match=says):
        call(s, C)
    assert len(s.trace) == 0


def test_a_name_of_another_module_is_not_taken_away() -> None:
    def strip(s: Schedule) -> None: ...

    strip.__module__ = "elsewhere"
    with pytest.raises(ArgumentError, match=rf"(?s)module {__name__} has a primitive 'strip' already.*elsewhere.strip"):
        fs.primitive(strip)


def test_a_function_that_changed_since_is_told() -> None:
    size = 4

    @fs.primitive(name="moody")
    def moody(s: Schedule, C: Tensor) -> None:
        s[C].split("i", factor=size)
        if size == 3:
            s[C].unroll("i.i")

    *_, C = chain(12)
    s = te.create_schedule(C)
    moody(s, C)
    size = 6
    with pytest.raises(TraceError, match=r"moody does something else .*factor=4\)\" then, .*factor=6\)\" now"):
        s.trace.replay_on(C)
    assert len(s.trace.replay_on(C, strict=False).trace) == 1
    assert s.trace.flat().replay_on(C).trace == s.trace.flat()


@pytest.mark.parametrize(
    ("step", "says"),
    [
        ({"do": "block", "args": {"C": {"$tensor": "Q"}}, "steps": []}, "no tensor named 'Q'"),
        ({"do": "block", "args": {"C": {"$what": "Q"}}, "steps": []}, "is nothing of this schedule"),
        ({"do": "block", "args": {"D": 3}, "steps": []}, "no argument named 'D'"),
        (
            {"do": "block", "args": {"C": {"$tensor": "C"}, "mr": "x"}, "steps": []},
            r"factor must be an integer, got 'x'",
        ),
        ({"do": "strip", "args": {"loop": 1.5, "C": 3}, "steps": []}, "3 is no stage of this schedule"),
        ({"do": "unroll_all", "args": {"view": 3, "loops": [1]}, "steps": []}, r"raised AttributeError: 'int' object"),
        ({"do": "block", "args": 3, "steps": []}, "is no step of a trace"),
        ({"do": "block", "steps": 3}, "is no step of a trace"),
        ({"do": "unknown", "steps": [{"do": "unroll", "stage": "C", "loop": "q"}]}, r"unknown\(\).*no loop named 'q'"),
    ],
)
def test_a_strangers_step_is_refused(step: dict[str, Any], says: str) -> None:
    *_, C = matmul(8, 8, 8)
    with pytest.raises(fs.ScheduleError, match=says):
        Trace.from_json({"version": 1, "steps": [step]}).replay_on(C)


def test_it_looks_like_its_function() -> None:
    assert repr(block).startswith("<primitive block of")
    assert (block.__doc__ or "").startswith("A register tile")
