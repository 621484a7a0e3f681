"""Benchmarks: flashsched's kernels beside other libraries, in one run, round by round.

`cases` says what is measured, `computations` what that means in NumPy, `peers` who computes it and how. `process` is
one peer in a process of its own, on the `cores` that it may use; `rounds` runs them in turns. `results` and `machine`
keep what came of it, `table` shows it.
"""

from __future__ import annotations
