"""One workload on many devices: how long, how well used, bound by what, at what energy and cost.

- ``estimates.py``: what a task takes on a device, by the best means that there is.
- ``simulate.py``: one workload on one device. ``compare.py``: a table of devices.
- ``replayed.py``: one log on many devices.
- ``picture.py``: the table as a drawing.
"""

from __future__ import annotations

__all__: list[str] = []
