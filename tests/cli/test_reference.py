"""docs/reference/cli.md is what --help says; ``python tests/cli/test_reference.py`` writes it anew."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "cli.md"

HEAD = """# The command line

Each command's own `--help`, in one page. A test keeps it true; `python tests/cli/test_reference.py` writes it anew.

- Results go to standard output; progress, remarks, warnings and errors go to standard error. `--json` puts one JSON
  document on standard output.
- Exit codes: 0 done; 1 failed (an error in a file of yours, a full disk, a damaged log in `log verify`); 2 wrong usage,
  with what would be right; 3 no valid schedule found; 130 and 143 stopped by Ctrl-C and SIGTERM: the log is whole, and
  `--resume` goes on from it.
- `python -m flashsched` is the same as `flashsched`.
"""


def commands(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    yield path, command
    for name, inner in sorted(getattr(command, "commands", {}).items()):
        yield from commands(inner, f"{path} {name}")


def page() -> str:
    from flashsched.cli.app import app

    sections = []
    for path, command in commands(app, "flashsched"):
        context = click.Context(command, info_name=path, terminal_width=100, **app.context_settings)
        sections.append(f"\n## {path}\n\n```text\n{command.get_help(context).rstrip()}\n```\n")
    return HEAD + "".join(sections)


def test_the_page_is_what_help_says() -> None:
    assert PAGE.read_text(encoding="utf-8") == page()


def test_every_command_says_what_its_options_are_for_and_shows_an_example() -> None:
    from flashsched.cli.app import app

    for path, command in commands(app, "flashsched"):
        assert command.help, path
        assert "flashsched " in command.help, f"{path} has no example"
        for option in command.params:
            assert not isinstance(option, click.Option) or option.help, f"{path} {option.name} has no help"


if __name__ == "__main__":
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")
