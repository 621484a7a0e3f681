"""Why a schedule is fast.

``ablate.py`` leaves steps out, ``explain.py`` puts together what comes of it, ``explain_text.py`` tells it.
"""

from __future__ import annotations

__all__: list[str] = []
