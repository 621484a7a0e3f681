"""Benchmarks: flashsched's kernels beside other libraries, in one run, round by round.

`cases` says what is computed, `peers` who computes it and how, `process` is one peer in a process of its own, `rounds`
runs them in turns, `table` prints what came of it.
"""

from __future__ import annotations
