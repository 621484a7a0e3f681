"""Tuning logs: records, the file that they are appended to, and what is read out of them.

- ``record.py``: a trial as a line. ``log.py``: the file; ``durable.py``: what survives a crash; ``places.py``: where
  it lies.
- ``glance.py``: a line's few facts without reading all of it. ``nearest.py``: which record is nearest to a look-up.
- ``report.py``, ``report_html.py``: many records as a table. ``log_diff.py``: two of them side by side.
"""

from __future__ import annotations

__all__: list[str] = []
