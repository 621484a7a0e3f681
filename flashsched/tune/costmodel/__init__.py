"""The cost model: what it sees of a schedule, what it has learned, and how well it orders schedules.

- ``features.py``, ``access.py``: a nest as numbers. ``learners.py``: scikit-learn. ``cost_model.py``: prior and
  residual.
- ``table.py``, ``tabulate.py``: what it was trained on beforehand. ``ranking.py``, ``heldout.py``: how good it is.
"""

from __future__ import annotations

__all__: list[str] = []
