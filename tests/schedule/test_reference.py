"""docs/reference/primitives.md is what the primitives say; run this file to write it anew."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flashsched.schedule.primitives import PRIMITIVES
from flashsched.schedule.schedule import Schedule
from flashsched.schedule.views.loops import LoopPrimitives
from flashsched.schedule.views.memory import MemoryPrimitives
from flashsched.schedule.views.places import PlacePrimitives

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "primitives.md"

HEAD = """# The primitives

Each primitive's own documentation, in one page. A test keeps it true; `python tests/schedule/test_reference.py` writes
it anew. [The guide](../guide/schedules.md) puts them together.

`s` is a schedule, `s[C]` the stage of tensor `C`. A loop is named by an axis of the stage, by what a primitive
returned, or by its name in a string, as a trace keeps it.
"""

SECTIONS: tuple[tuple[str, str, type], ...] = (
    ("Loops", "s[C]", LoopPrimitives),
    ("Places", "s[C]", PlacePrimitives),
    ("Memory", "s[C]", MemoryPrimitives),
    ("The whole schedule", "s", Schedule),
)


def methods() -> Iterator[tuple[str, str, str, Any]]:
    """The section, the prefix, the name and the method of each primitive."""
    for title, prefix, kind in SECTIONS:
        for name, method in vars(kind).items():
            if name in PRIMITIVES and inspect.isfunction(method):
                yield title, prefix, name, method


def page() -> str:
    parts, shown = [HEAD], ""
    for title, prefix, name, method in methods():
        if title != shown:
            parts.append(f"\n## {title}\n")
            shown = title
        given = [p for p in inspect.signature(method).parameters.values() if p.name != "self"]
        call = inspect.Signature([p.replace(annotation=p.empty) for p in given])
        text = inspect.getdoc(PRIMITIVES[name].run) or ""
        parts.append(f"\n### {prefix}.{name}{call}\n\n{_markdown(text)}\n")
    return "".join(parts)


def _markdown(text: str) -> str:
    """A docstring of ours as Markdown: literal blocks and doctests become code, the entries of a section a list."""
    out: list[str] = []
    code, section = "", ""
    for line in text.splitlines():
        if code == "text" and line and not line.startswith(" "):
            out += ["```", ""]
            code = ""
        if code == "python" and not line:
            out.append("```")
            code = ""
        if not code and line.startswith(">>>"):
            out.append("```python")
            code = "python"
        if code == "text" and not line and out[-1] == "```text":
            continue
        if not code and line.rstrip().endswith("::"):
            out += [line.rstrip()[:-1], "", "```text"]
            code = "text"
        elif not code and line in ("Args:", "Returns:", "Raises:"):
            section = line[:-1]
            out += [f"**{section}**", ""]
        elif code:
            out.append(line[4:] if code == "text" else line)
        elif section in ("Args", "Raises") and line.startswith("    ") and not line.startswith("     "):
            out.append(f"- {line.strip()}")
        else:
            out.append(line.strip() if section == "Returns" else line[2:] if section else line)
    if code:
        out.append("```")
    kept = [line for number, line in enumerate(out) if line or (number and out[number - 1])]
    return "\n".join(kept).replace("\n\n```\n", "\n```\n").strip()


def test_the_page_is_what_the_primitives_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python tests/schedule/test_reference.py"


def test_each_primitive_is_on_the_page_and_has_a_method() -> None:
    listed = {name for _, _, name, _ in methods()}
    assert set(PRIMITIVES) <= listed, f"no method of a schedule or a stage: {sorted(set(PRIMITIVES) - listed)}"


def test_each_primitive_shows_an_example() -> None:
    for name, known in PRIMITIVES.items():
        text = inspect.getdoc(known.run) or ""
        assert ">>> " in text or name in ("compute_root", "unannotate"), f"{name} shows no example that runs"
        assert "Raises:" in text, f"{name} does not say what it refuses"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
