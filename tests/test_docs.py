"""What the documents say is run: the tour, the README, the examples, and every link to a file."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
GUIDE = sorted((ROOT / "docs" / "guide").glob("*.md"))
EXAMPLES = sorted(path.name for path in (ROOT / "examples").glob("*.py"))

# What an example is called with; {log} is a fresh tuning log of a small matmul.
ARGUMENTS = {"load_tuned.py": ["{log}", "--rounds", "5"], "digits.py": ["--trials", "2"]}


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of one language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def run(arguments: list[str], cwd: Path) -> str:
    """Run Python as a person would, with warnings as errors; its output."""
    environment = os.environ | {"PYTHONIOENCODING": "utf-8", "FLASHSCHED_LOGS": str(cwd / "logs")}
    command = [sys.executable, "-W", "error", *arguments]
    done = subprocess.run(
        command, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", timeout=300
    )
    assert done.returncode == 0, f"{' '.join(arguments)} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def run_page(page: Path, folder: Path) -> str:
    """Run a page's Python blocks as the one script that they make together."""
    script = folder / f"{page.stem}.py"
    script.write_text("\n".join(blocks(page, "python")), encoding="utf-8")
    return run([str(script)], folder)


def test_the_tour_runs_and_prints_what_it_shows(tmp_path: Path) -> None:
    page = ROOT / "docs" / "tour.md"
    printed = run_page(page, tmp_path)
    shown = blocks(page, "text")
    assert shown, "the tour shows no output"
    for output in shown:
        assert output in printed


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", ROOT / "docs" / "coming-from-tvm.md", *GUIDE], ids=lambda page: page.name
)
def test_a_page_runs(page: Path, tmp_path: Path) -> None:
    run_page(page, tmp_path)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import flashsched as fs

    path = tmp_path_factory.mktemp("logs") / "matmul.jsonl"
    fs.tune(fs.Task("matmul", shape=(64, 48, 32), dtype="float32"), device="cpu", trials=2, log=path, seed=0)
    return path


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_runs(example: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    arguments = ARGUMENTS.get(example, [])
    if "{log}" in arguments:
        path = str(request.getfixturevalue("log"))
        arguments = [path if argument == "{log}" else argument for argument in arguments]
    assert run([str(ROOT / "examples" / example), *arguments], tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    prose = re.sub(
        r"^```.*?^```$|`[^`\n]*`(?!\])", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
    )
    targets = re.findall(r"\]\(([^)#\s]+)", prose)
    missing = [t for t in targets if not t.startswith(("http://", "https://")) and not (page.parent / t).exists()]
    assert not missing, f"{page.name} links to files that are not there: {missing}"


def test_each_design_note_is_in_the_index() -> None:
    notes = ROOT / "docs" / "design"
    index = (notes / "README.md").read_text(encoding="utf-8")
    unlisted = [note.name for note in notes.glob("[0-9]*.md") if f"({note.name})" not in index]
    assert not unlisted, f"docs/design/README.md does not list {unlisted}"
