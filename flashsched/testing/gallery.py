"""The gallery of mistakes: small programs with one mistake each, and what a person is told.

A program is a file whose first comment says what it shows. What it raises stands below it, after a line ``# -> Class``,
as comments. ``python -m flashsched.testing.gallery tests/gallery docs/errors.md`` runs all of them, writes down what
they raise, and makes the page of it; a test holds both up to date.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from flashsched import errors
from flashsched.errors import ExpressionError, FlashschedError, ScheduleError

__all__ = ["Exhibit", "exhibits", "page", "raised", "said", "with_message"]

_ARROW = "# -> "


@dataclass(frozen=True)
class Exhibit:
    """One program of the gallery.

    Attributes:
        name: its file, without ``.py``.
        title: what it shows, in a sentence.
        program: its text.
        kind: the class of what it raises; empty where that was not written down yet.
        message: what it says.
    """

    name: str
    title: str
    program: str
    kind: str
    message: str


def exhibits(folder: Path) -> Iterator[Exhibit]:
    """The programs in *folder*, by name."""
    for path in sorted(folder.glob("*.py")):
        text = path.read_text(encoding="utf-8")
        above, _, below = text.partition(_ARROW)
        title, _, program = above.partition("\n")
        kind, *lines = below.splitlines() or [""]
        message = "\n".join(line.removeprefix("#").removeprefix(" ") for line in lines)
        yield Exhibit(path.stem, title.removeprefix("# "), program.strip("\n") + "\n", kind, message)


def raised(exhibit: Exhibit) -> FlashschedError | None:
    """What the program raises when it is run; None if it does not."""
    lines = "\n" + exhibit.program  # its lines are counted as in its file, the title first
    try:
        exec(compile(lines, f"{exhibit.name}.py", "exec"), {"__name__": exhibit.name})
    except FlashschedError as error:
        return error
    return None


def said(error: FlashschedError) -> str:
    """What *error* says, without blanks at the ends of lines."""
    return "\n".join(line.rstrip() for line in str(error).split("\n"))


def with_message(exhibit: Exhibit) -> str:
    """The program's file, with what the program raises now."""
    error = raised(exhibit)
    assert error is not None, f"{exhibit.name}.py raises nothing"
    told = [f"# {line}".rstrip() for line in said(error).split("\n")]
    return "\n".join([f"# {exhibit.title}", exhibit.program + _ARROW + type(error).__name__, *told]) + "\n"


def page(folder: Path) -> str:
    """``docs/errors.md``: every program and what it is told, by class."""
    shown = list(exhibits(folder))
    tree = inspect.cleandoc(errors.__doc__ or "").split("The tree::\n\n")[1]
    text = [_HEAD.format(count=len(shown), tree=inspect.cleandoc(tree))]
    for base in (ExpressionError, ScheduleError):
        for kind in (base, *base.__subclasses__()):
            found = [exhibit for exhibit in shown if exhibit.kind == kind.__name__]
            if found:
                text.append(f"## {kind.__name__}\n\n{inspect.getdoc(kind)}\n")
            for exhibit in found:
                text.append(f"**{exhibit.title}**\n\n```py\n{exhibit.program}```\n\n```text\n{exhibit.message}\n```\n")
    return "\n".join(text)


_HEAD = """# Errors

<!-- written by `python -m flashsched.testing.gallery tests/gallery docs/errors.md` -->

An error says what was done, why it can't be, with the values; where, with the loop marked `<--` and your own line; and
what to do next. It has a class, so that a program can tell one sort of mistake from another:

```text
{tree}
```

Below are {count} small programs with one mistake each, and what each of them is told. They run as tests.
"""


def _write(folder: Path, target: Path) -> None:
    for exhibit in list(exhibits(folder)):
        (folder / f"{exhibit.name}.py").write_text(with_message(exhibit), encoding="utf-8")
    target.write_text(page(folder), encoding="utf-8")


if __name__ == "__main__":
    _write(Path(sys.argv[1]), Path(sys.argv[2]))
