"""Expressions of sizes as text: what prints reads back, and nothing else is read."""

from __future__ import annotations

import pytest

from flashsched import te
from flashsched.errors import ArgumentError
from flashsched.schedule.conditions import parse_size

N, M = te.var("n"), te.var("m")
SIZES = {"n": N, "m": M}


@pytest.mark.parametrize("text", ["n", "7", "n + 2", "(n + 15) // 16 * 16", "n * m - 1", "n % 4"])
def test_what_prints_reads_back(text: str) -> None:
    assert str(parse_size(text, SIZES)) == text


@pytest.mark.parametrize(
    "text", ["", "n +", "k", "n.bit_length()", "[n]", "open('x')", "n if m else 2", "1.5", "n // 0"]
)
def test_nothing_else_is_read(text: str) -> None:
    with pytest.raises(ArgumentError, match="is no expression of sizes"):
        parse_size(text, SIZES)
