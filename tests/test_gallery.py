"""The gallery of mistakes: each program is told what stands below it, and each refusal has a program or a test."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest

import flashsched
from flashsched import errors
from flashsched.testing.gallery import Exhibit, exhibits, page, raised, said

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "tests" / "gallery"
PACKAGE = Path(flashsched.__file__).parent
SHOWN = list(exhibits(FOLDER))

WORDS = 3  # of a reason in a row, that a test has to hold to be about it

# Refusals that neither a program of the gallery nor the words of a test are about, and why not.
ELSEWHERE = {
    ("te/evaluate.py", "is {tensor.dtype}"): "about feeding the oracle: tests/te/test_evaluate.py",
    ("schedule/primitives/rfactor.py", "at once"): "conditions and splits that mix both are rare: the random schedules",
    ("schedule/primitives/tails.py", "is not known"): "needs an index whose bounds nobody knows",
    ("schedule/replay.py", "raised"): "a fault of the user's function: tests/schedule/test_own.py",
    ("schedule/follow.py", "reason"): "each of its reasons has a test in tests/schedule/test_reverse_compute_at.py",
    ("schedule/primitives/pad_einsum.py", "reason"): "the same: tests/schedule/test_pad_einsum.py",
    ("schedule/formal.py", "with {kind}"): "hardly a word of it is constant: tests/schedule/test_formal.py",
    ("schedule/primitives/pragma.py", "{wanted}"): "the same: tests/schedule/test_pragma.py",
    ("te/recurrence.py", ""): "new, and still without programs here: tests/te",
    ("schedule/rolling.py", "{why}"): "the same: tests/schedule/test_rolling_buffer.py",
    ("schedule/primitives/unroll_and_jam.py", "another point"): "the same: tests/schedule/test_unroll_and_jam.py",
    ("te/binding.py", "recurrence"): "the same: tests/te",
    ("schedule/layout.py", "has no bound"): "needs a size that nobody knows",
    ("schedule/marks.py", "error.reason"): "the reason of another refusal, which has a test",
}


@pytest.mark.parametrize("exhibit", SHOWN, ids=lambda exhibit: exhibit.name)
def test_a_mistake_is_told_as_it_was(exhibit: Exhibit) -> None:
    error = raised(exhibit)
    assert error is not None, "it raises nothing"
    assert (type(error).__name__, said(error)) == (exhibit.kind, exhibit.message)


@pytest.mark.parametrize("exhibit", SHOWN, ids=lambda exhibit: exhibit.name)
def test_a_message_says_where_and_what_to_do(exhibit: Exhibit) -> None:
    lines = exhibit.message.split("\n")
    assert re.fullmatch(rf"  at {exhibit.name}\.py:\d+", lines[-2])
    assert lines[-1].startswith("  hint: ")
    assert len(lines[0]) < 260
    assert exhibit.title.endswith(".")


def test_there_are_many_and_each_class_has_one() -> None:
    assert len(SHOWN) >= 80
    assert len({exhibit.program for exhibit in SHOWN}) == len({exhibit.title for exhibit in SHOWN}) == len(SHOWN)
    classes = {*errors.ExpressionError.__subclasses__(), *errors.ScheduleError.__subclasses__()}
    assert {exhibit.kind for exhibit in SHOWN} >= {kind.__name__ for kind in classes}


def test_the_page_shows_them() -> None:
    text = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    assert text == page(FOLDER), "python -m flashsched.testing.gallery tests/gallery docs/errors.md"


def refusals(path: Path) -> Iterator[tuple[range, str]]:
    """The statements of a module that refuse something: their lines, and the words of their reason."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        call = node.exc if isinstance(node, ast.Raise) else node.value if isinstance(node, ast.Expr) else None
        if not isinstance(call, ast.Call):
            continue
        name = ast.unparse(call.func)
        if name == "refuse" or (isinstance(node, ast.Raise) and name in errors.__all__ and name != "user_line"):
            reason = call.args[1] if name == "refuse" else call.args[0]
            assert node.end_lineno is not None
            yield range(node.lineno, node.end_lineno + 1), ast.unparse(reason)


def test_each_refusal_has_a_program() -> None:
    wanted = {
        str(path): list(refusals(path))
        for part in ("te", "schedule")
        for path in sorted((PACKAGE / part).rglob("*.py"))
    }
    tests = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "tests").rglob("test_*.py")))
    tests = tests.replace("\\", "")
    watched = {name: {line for lines, _ in found for line in lines} for name, found in wanted.items()}
    reached: set[tuple[str, int]] = set()

    def on_call(frame: FrameType, event: str, argument: Any) -> Any:
        return on_line if frame.f_code.co_filename in watched and _holds(frame.f_code) else None

    def _holds(code: CodeType) -> bool:
        return any(line in watched[code.co_filename] for _, _, line in code.co_lines() if line is not None)

    def on_line(frame: FrameType, event: str, argument: Any) -> Any:
        if event == "line" and frame.f_lineno in watched[frame.f_code.co_filename]:
            reached.add((frame.f_code.co_filename, frame.f_lineno))
        return on_line

    before = sys.gettrace()
    sys.settrace(on_call)
    try:
        for exhibit in SHOWN:
            raised(exhibit)
    finally:
        sys.settrace(before)
    missing = [
        f"{Path(name).relative_to(PACKAGE).as_posix()}:{lines[0]}: {reason}"
        for name, found in wanted.items()
        for lines, reason in found
        if not any((name, line) in reached for line in lines) and not _told(name, reason, tests)
    ]
    assert not missing, "no program of tests/gallery runs into these, and no test holds their words\n" + "\n".join(
        missing
    )


def _told(name: str, reason: str, tests: str) -> bool:
    """Whether a test asks for some of the words that the *reason*, an expression, always says; or it is excused."""
    file = Path(name).relative_to(PACKAGE).as_posix()
    if any(file == where and words in reason for where, words in ELSEWHERE):
        return True
    constant = [
        n.value for n in ast.walk(ast.parse(reason)) if isinstance(n, ast.Constant) and isinstance(n.value, str)
    ]
    for words in (part.split() for part in constant):
        for first in range(max(1, len(words) - WORDS + 1)):
            part = " ".join(words[first : first + WORDS])
            if len(part) >= 8 and part in tests:
                return True
    return False
