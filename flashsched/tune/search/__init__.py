"""What is tried next.

- ``knobs.py``: what a template asks, and how it is answered. ``decisions.py``: answers as rows of numbers.
- ``proposer.py``: Optuna. ``samplers.py``: which of its ways, and ours. ``shared.py``: one search by several processes.
- ``candidates.py``, ``pool.py``, ``screen.py``: candidates are drawn, made, ranked, and wait.
- ``history.py``: what was found. ``transfer.py``: a start from other tasks. ``stopping.py``, ``pareto.py``: enough.
"""

from __future__ import annotations

__all__: list[str] = []
