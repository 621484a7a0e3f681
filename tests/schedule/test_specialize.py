"""specialize: one test of the sizes before a nest, and code of its own for those that are frequent."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashsched import te
from flashsched.codegen.build import build
from flashsched.codegen.interpreter import interpret
from flashsched.codegen.lower import lower, program_of
from flashsched.errors import ArgumentError, ScheduleError, ShapeError, UnknownNameError
from flashsched.schedule.schedule import Schedule
from flashsched.testing.checks import check_round_trip

n, m = te.var("n"), te.var("m")


def rows() -> Schedule:
    A = te.placeholder((n, m), name="A")
    P = te.compute((n, m), lambda i, j: A[i, j] * 2, name="P")
    C = te.compute((n, m), lambda i, j: P[i, j] + P[n - 1 - i, j], name="C")
    return te.create_schedule(C)


def check(schedule: Schedule, *shapes: tuple[int, int], **options: list[dict[te.SizeVar, int]]) -> None:
    kernel = build(schedule, **options)  # type: ignore[arg-type]
    for shape in shapes:
        a = np.arange(np.prod(shape), dtype="float32").reshape(shape)
        wanted = 2 * a + 2 * a[::-1]
        for program in (program_of(schedule), lower(schedule, **options)):  # type: ignore[arg-type]
            np.testing.assert_array_equal(interpret(program, [a])[0], wanted)
        np.testing.assert_array_equal(kernel(a), wanted, strict=True)


@settings(max_examples=8, deadline=None)
@given(st.data(), st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=4))
def test_it_computes_the_same_at_any_size(data: st.DataObject, shapes: list[tuple[int, int]]) -> None:
    s = rows()
    conditions = data.draw(st.lists(st.sampled_from(["n == 4", "m % 4 == 0", "n == 8 and m % 2 == 0", "n >= 3"])))
    s["C"].specialize(*conditions)
    io, jo, _, ji = s["C"].tile("i", "j", 2, 4, tail=data.draw(st.sampled_from(["guard", "cut"])))
    if data.draw(st.booleans()):
        s["P"].compute_at(s["C"], data.draw(st.sampled_from([io, jo])))
    s["C"].vectorize(ji)
    s["C"].parallel(io)
    check(s, *shapes, (4, 4), (8, 6))
    check(s, *shapes, (4, 4), (8, 6), specialize=[{n: 4, m: 4}, {m: 6}])
    check_round_trip(s)


def test_a_multiple_and_a_number_leave_no_guard() -> None:
    A = te.placeholder((n,), name="A")
    s = te.create_schedule(te.compute((n,), lambda i: A[i] + 1, name="C"))
    _, inner = s["C"].split("i", factor=4)
    s["C"].specialize(n == 8, n % 4 == 0)
    s["C"].vectorize(inner)
    assert str(lower(s)).split("\n") == [
        "def kernel(A: float32[n], C: float32[n], n: size):",
        "  if n == 8:",
        "    n = 8",
        "    for i.o in range(2):",
        "      for i.i in range(4):  # vectorize",
        "        C[i.o * 4 + i.i] = A[i.o * 4 + i.i] + 1.0",
        "  else:",
        "    if n % 4 == 0:",
        "      n.4 = n // 4",
        "      for i.o in range(n.4):",
        "        for i.i in range(4):  # vectorize",
        "          C[i.o * 4 + i.i] = A[i.o * 4 + i.i] + 1.0",
        "    else:",
        "      for i.o in range((n + 3) // 4):",
        "        for i.i in range(4):  # vectorize",
        "          if i.o * 4 + i.i < n:",
        "            C[i.o * 4 + i.i] = A[i.o * 4 + i.i] + 1.0",
    ]


def test_memory_of_a_specialized_nest_has_numbers_for_its_sizes() -> None:
    s = rows()
    s["P"].compute_at(s["C"], "i")
    s["C"].specialize("n == 8 and m == 4")
    text = str(lower(s))
    assert "P = alloc(float32[8, 4], 'global')" in text
    assert "P = alloc(float32[n, m], 'global')" in text


def test_memory_that_all_copies_share_speaks_of_no_size_of_one() -> None:
    """Found by the fuzzer: ``n.2``, which only the copy knows, stood in the shape of what both read."""
    A = te.placeholder((n,), name="A")
    P = te.compute((n,), lambda i: A[i] * 2, name="P")
    C = te.compute((n,), lambda i: te.select(n > 0, P[n - 1] + P[n // 2], 0.0), name="C")
    s = te.create_schedule(C)
    s[C].specialize("n % 2 == 0")
    program, kernel = lower(s), build(s)
    assert "P = alloc(float32[n], 'global')" in str(program)
    for size in (0, 1, 2, 5, 8):
        a = np.arange(size, dtype="float32") + 3
        wanted = np.full(size, 2 * (a[-1] + a[size // 2]) if size else 0, "float32")
        np.testing.assert_array_equal(interpret(program, [a])[0], wanted)
        np.testing.assert_array_equal(kernel(a), wanted, strict=True)


def test_a_condition_given_twice_counts_once() -> None:
    s = rows()
    s["C"].specialize("n == 4", n == 4)
    assert str(s).count("specialize n == 4") == 1


def test_it_stays_when_the_nest_is_made_anew() -> None:
    s = rows()
    s["P"].specialize("n == 4")
    s["P"].compute_at(s["C"], "i")
    assert "specialize n == 4" in str(s)
    check_round_trip(s)


def test_binding_the_size_leaves_it_out() -> None:
    s = rows()
    s["C"].specialize("n == 4", "m == 3")
    assert [step.args for step in s.bind_sizes({n: 4}).trace] == [{"condition": "m == 3"}]


@pytest.mark.parametrize(
    ("condition", "error", "says"),
    [
        ("q == 1", UnknownNameError, "no size named 'q' in this program"),
        ("n", ArgumentError, "'n' is no condition: it is a number"),
        ("n >= 0", ArgumentError, "holds for all sizes"),
        ("n < 0", ArgumentError, "holds for no size"),
        ("n ==", ArgumentError, "is no condition on sizes"),
        ("n == 1.5", ArgumentError, "'1.5' may not stand in it"),
        ("n == 1 == m", ArgumentError, "may not stand in it"),
        ("n % 0 == 0", ArgumentError, "division by zero"),
        ("n == " + "1 + " * 90 + "1", ArgumentError, "is no condition: it has"),
    ],
)
def test_refusals(condition: str, error: type[ScheduleError], says: str) -> None:
    with pytest.raises(error, match=says):
        rows()["C"].specialize(condition)


def test_a_choice_must_be_of_the_programs_sizes() -> None:
    with pytest.raises(ShapeError, match="specialize names q, and the sizes of the program are n, m"):
        build(rows(), specialize=[{te.var("q"): 3}])
    with pytest.raises(ShapeError, match="size n can't be -3"):
        build(rows(), specialize=[{n: -3}])
    A = te.placeholder((4,), name="A")
    plain = te.create_schedule(te.compute((4,), lambda i: A[i], name="C"))
    with pytest.raises(UnknownNameError, match="no size named 'n'"):
        plain["C"].specialize("n == 4")
