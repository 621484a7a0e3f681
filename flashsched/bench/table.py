"""Results as text for a terminal, and as a Markdown table that a document holds between two marks."""

from __future__ import annotations

import re
import statistics
from collections.abc import Sequence
from pathlib import Path

from flashsched.bench.results import OURS, CaseResult, Results
from flashsched.errors import counted

__all__ = ["summary", "tables_of", "to_markdown", "to_text", "update"]

_MARKED = re.compile(r"(?P<open><!-- bench: (?P<file>\S+) -->\n)(?P<table>.*?)(?P<close><!-- /bench -->)", re.DOTALL)


def to_text(results: Results) -> str:
    """A table, one line a case: our rate, its share of the limit, the best of the others, the ratio, all rates."""
    others = [peer for peer in results.peers if peer != OURS]
    head = ["case", "unit", OURS, "of limit", "by", "best other", "ratio", *others]
    rows = [head]
    for result in results.cases:
        limit = results.machine.limit(result.case)
        ours = OURS in result.seconds
        best = result.best
        rows.append([
            result.case.name,
            result.unit,
            f"{result.rate(OURS):.1f}" if ours else "-",
            f"{100 * limit.seconds / result.median(OURS):.0f}%" if ours else "",
            limit.binding,
            best or "-",
            f"{result.ratio(best):.2f}x" if ours and best else "-",
            *(f"{result.rate(peer):.1f}" if peer in result.seconds else "-" for peer in others),
        ])  # fmt: skip
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    said = [f"{r.case.name}: {peer}: {note}" for r in results.cases for peer, note in r.notes.items()]
    return "\n".join([results.machine.text(), "", *lines, "", *said, *([""] if said else []), *summary(results)])


def _compared(results: Results) -> list[CaseResult]:
    return [result for result in results.cases if OURS in result.seconds and result.best]


def summary(results: Results) -> list[str]:
    """The geometric mean of our ratio to each peer and to the best of each case, and the worst case."""
    lines = []
    for peer in results.peers:
        ratios = [r.ratio(peer) for r in results.cases if peer in r.seconds and OURS in r.seconds]
        if ratios and peer != OURS:
            lines.append(f"vs {peer}: {statistics.geometric_mean(ratios):.2f}x over {counted(len(ratios), 'case')}")
    return [*lines, *([f"vs {_best_text(results)}"] if _compared(results) else [])]


def _best_text(results: Results) -> str:
    """``the best of each case: 1.10x over 3 cases, at worst 0.95x (relu-4096x4096, onnxruntime)``."""
    ratios = {r.case.name: (r.ratio(r.best), r.best) for r in _compared(results) if r.best}
    worst = min(ratios, key=lambda name: ratios[name][0])
    mean = statistics.geometric_mean(ratio for ratio, _ in ratios.values())
    ratio, peer = ratios[worst]
    cases = counted(len(ratios), "case")
    return f"the best of each case: {mean:.2f}x over {cases}, at worst {ratio:.2f}x ({worst}, {peer})"


def to_markdown(results: Results) -> str:
    """A Markdown table, the fastest of each case in bold, and below it machine, versions and means."""
    from flashsched.bench.peers import PEERS

    peers = results.peers
    head = ["Case", "", *(PEERS[peer].title for peer in peers), "of the limit", "to the best other"]
    lines = [_row(head), _row(["---", "---", *["---:"] * (len(head) - 2)])]
    for result in results.cases:
        fastest = min(result.seconds, key=result.median, default=None)
        rates = [_number(result.rate(peer)) if peer in result.seconds else "–" for peer in peers]
        bold = [f"**{rate}**" if peer == fastest else rate for rate, peer in zip(rates, peers, strict=True)]
        share = ratio = "–"
        if OURS in result.seconds:
            share = f"{100 * results.machine.limit(result.case).seconds / result.median(OURS):.0f}%"
            ratio = f"{result.ratio(result.best):.2f}×" if result.best else "–"
        lines.append(_row([result.case.name, result.unit, *bold, share, ratio]))
    versions = ", ".join(f"{name} {version}" for name, version in results.machine.versions.items())
    told = [f"{results.machine.text()}; {results.date[:10]}{f'; {versions}' if versions else ''}."]
    if _compared(results):
        text = _best_text(results).replace("x over", "× over").replace("x (", "× (")
        told.append(f"Against {text}.")
    return "\n".join([*lines, "", *told, ""])


def _number(rate: float) -> str:
    return f"{rate:.0f}" if rate >= 10 else f"{rate:.1f}"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def tables_of(page: Path) -> list[tuple[str, str]]:
    """The tables that *page* holds between marks: the file that each comes from, and what stands there.

    A mark is a line ``<!-- bench: FILE -->``, FILE as seen from the page's folder; ``<!-- /bench -->`` ends the table.
    """
    return [(found["file"], found["table"]) for found in _MARKED.finditer(page.read_text(encoding="utf-8"))]


def update(page: Path) -> int:
    """Write the tables of *page* anew from their files, and return how many there are.

    Raises:
        LogError: a file can't be read, or holds no results.
    """

    def anew(found: re.Match[str]) -> str:
        return f"{found['open']}{to_markdown(Results.read(page.parent / found['file']))}{found['close']}"

    text, count = _MARKED.subn(anew, page.read_text(encoding="utf-8"))
    page.write_text(text, encoding="utf-8")
    return count
