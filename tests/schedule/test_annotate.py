"""annotate and unannotate: notes that change nothing, and are still there at the end."""

from __future__ import annotations

import pytest

from flashsched import te
from flashsched.codegen.lower import lower
from flashsched.errors import ArgumentError, UnknownNameError
from flashsched.testing.checks import check_meaning, check_round_trip
from flashsched.testing.programs import chain, pointwise


def test_notes_survive_other_steps_and_lowering() -> None:
    _, P, C = chain(5, 8)
    s = te.create_schedule(C)
    s[C].annotate("i1", "width", 8)
    s[C].annotate("i0", "who", "me")
    outer, inner = s[C].split("i1", 4)
    s[P].annotate("i0", "share", 0.5)
    s[P].compute_at(s[C], outer)
    s[C].vectorize(inner)
    s[C].parallel("i0")
    text = str(lower(s))
    assert "for i0 in range(5):  # parallel, @who=me" in text
    assert "for i1.o in range(2):  # @width=8" in text
    assert "for i1.i in range(4):  # vectorize, @width=8" in text
    check_meaning(s, compiled=True)
    check_round_trip(s)


def test_a_fused_loop_has_the_notes_of_both() -> None:
    _, C = pointwise(4, 8)
    s = te.create_schedule(C)
    s[C].annotate("i0", "a", True)
    s[C].annotate("i1", "b", False)
    s[C].fuse("i0", "i1")
    assert str(s).split("\n")[0] == "for i0.i1 in range(32):  # @a=True, @b=False"
    check_round_trip(s)


def test_a_note_is_replaced_and_taken_away() -> None:
    _, C = pointwise(8)
    s = te.create_schedule(C)
    plain = str(s)
    s[C].annotate("i", "tail", "cut")  # a person's note is no instruction
    s[C].split("i", 3)
    assert "if i.o" not in str(lower(s)).split("else")[0].split("for i.i")[0]
    s = te.create_schedule(C)
    s[C].annotate("i", "n", 1)
    s[C].annotate("i", "n", 2)
    assert str(s).split("\n")[0] == "for i in range(8):  # @n=2"
    s[C].unannotate("i", "n")
    assert str(s) == plain
    check_round_trip(s)


def test_what_is_refused() -> None:
    _, C = pointwise(8)
    s = te.create_schedule(C)
    with pytest.raises(UnknownNameError, match=r"(?s)loop 'i' has no note 'x'.*annotate puts one there"):
        s[C].unannotate("i", "x")
    s[C].annotate("i", "width", 1)
    with pytest.raises(UnknownNameError, match="did you mean width"):
        s[C].unannotate("i", "widht")
    with pytest.raises(ArgumentError, match="' ' is no key"):
        s[C].annotate("i", " ", 1)
    with pytest.raises(ArgumentError, match="value must be a text, got"):
        s[C].annotate("i", "key", [1])  # type: ignore[arg-type]
