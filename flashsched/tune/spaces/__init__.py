"""Small spaces, measured point by point, that ship as data: a benchmark of tuners that needs no hardware.

- ``problems.py``: what is computed and how it may be scheduled, written for the benchmark and never changed for speed:
  a changed template would no longer be what was measured.
- ``table.py``: what each point of a space took, as a file. ``t4.py``: the same in the format of other tuners.
- ``replay.py``: a search over a table, through the tuner that searches for real. ``curves.py``: what came of searches.
"""

from __future__ import annotations

__all__: list[str] = []
