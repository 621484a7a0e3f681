"""Windows taken apart: rows of a window are combined once, and shared by all the windows that they lie in.

The least element of each 5 x 5 window takes 24 comparisons; the least of each row of five first, and then the least of
five of those, takes 8. `rfactor` makes the rows, and `join_axes` makes one of those that several windows share. It
serves box filters, pooling, erosion and dilation, where nothing but the window's own elements is combined. A
convolution's weights differ from row to row, and keep it whole.
"""

from __future__ import annotations

from collections.abc import Set

from flashsched.errors import ScheduleError
from flashsched.ops.derived.accesses import facts_of
from flashsched.ops.operator import KnobsLike
from flashsched.schedule import Schedule

__all__ = ["take_windows_apart"]

_GAIN = 1.4
"""How many times fewer points make that the first choice: it is one more pass over memory, if near memory."""


def take_windows_apart(s: Schedule, knobs: KnobsLike, apart: Set[str]) -> None:
    """Combine windows a row at a time, where *knobs* say so; the stages *apart* (recurrences) stay as they are."""
    left = [stage.name for stage in s.stages if stage.name not in apart]
    while left:
        name = left.pop(0)
        gains = _gains(s, name)
        if not gains:
            continue
        best = max(gains, key=lambda number: gains[number])
        number = knobs.choice(f"{name}: rows of windows", [-1, *gains], default=best if gains[best] >= _GAIN else -1)
        if number >= 0:
            rows = _by_rows(s, name, number)
            assert rows is not None
            left.append(rows)


def _gains(s: Schedule, name: str) -> dict[int, float]:
    """For each reduce axis (by number) along which rows can be taken apart: how many times fewer points are left."""
    found: dict[int, float] = {}
    facts = facts_of(s, name)
    if len(facts.reduced) < 2 or facts.points == 0:
        return found
    for number in range(len(facts.reduced)):
        twin = s.copy()
        try:
            rows = _by_rows(twin, name, number)
        except ScheduleError:
            continue  # which window a row is combined for matters: each has its own weights
        if rows is not None:
            found[number] = facts.points / (facts_of(twin, name).points + facts_of(twin, rows).points)
    return found


def _by_rows(s: Schedule, name: str, number: int) -> str | None:
    """Let *name* combine, along its reduce axis of that *number*, rows that a stage of their own has combined.

    Returns:
        That stage; None where no window slides along that axis.
    """
    facts = facts_of(s, name)
    along = facts.reduced[number]
    forms = [form for access in facts.reads for form in access.indices if form.coefficient(along)]
    slides = [n for n, axis in enumerate(facts.spatial) if any(form.coefficient(axis) for form in forms)]
    if len(slides) != 1:
        return None
    made = s.rfactor(name, along)
    rows = s[made[0] if isinstance(made, tuple) else made]
    part, *spatial = rows.op.axis
    rows.join_axes(spatial[slides[0]], part)
    return rows.name
