"""How a candidate gets its time.

- ``workers.py``, ``worker.py``, ``worker_process.py``, ``jobs.py``: isolated processes and what is done in them.
- ``cpu_runner.py``, ``cuda_runner.py``, ``fleet.py``: runners (``tune/runner.py``) here, on a GPU, elsewhere.
- ``timing.py``: how often to repeat. ``control.py``, ``observers.py``, ``peaks.py``: whether the machine is fit.
- ``verify.py``, ``shrink.py``: whether a kernel is right. ``finals.py``: the best few against each other.
"""

from __future__ import annotations

__all__: list[str] = []
