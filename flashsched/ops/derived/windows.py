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
from flashsched.te.tensor import Axis

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
        number = knobs.choice(
            f"{name}: rows of windows", [-1, *gains], default=best if gains[best] >= _GAIN else -1
        )
        if number >= 0:
            left.append(_by_rows(s, name, number))


def _gains(s: Schedule, name: str) -> dict[int, float]:
    """For each reduce axis, by its number, along which rows can be taken apart: how many times fewer points there are."""
    found: dict[int, float] = {}
    facts = facts_of(s, name)
    if len(facts.reduced) < 2 or facts.points == 0:
        return found
    for number in range(len(facts.reduced)):
        twin = s.copy()
        try:
            rows = _by_rows(twin, name, number)
        except ScheduleError:
            continue
        found[number] = facts.points / (facts_of(twin, name).points + facts_of(twin, rows).points)
    return found


def _by_rows(s: Schedule, name: str, number: int) -> str:
    """Let *name* combine, along its reduce axis of that *number*, rows that another stage has combined.

    Returns:
        That stage.

    Raises:
        ScheduleError: no row belongs to several windows, or something else depends on which one it is combined for.
    """
    facts = facts_of(s, name)
    along = facts.reduced[number]
    slides = [n for n, axis in enumerate(facts.spatial) if _slides(s, name, axis, along)]
    if len(slides) != 1:
        raise ScheduleError(f"{name!r} has no window along {along.name!r}")
    made = s.rfactor(name, along)
    rows = s[made[0] if isinstance(made, tuple) else made]
    part, *spatial = rows.op.axis
    rows.join_axes(spatial[slides[0]], part)
    return rows.name


def _slides(s: Schedule, name: str, axis: Axis, along: Axis) -> bool:
    """Whether an element that is read lies further on for *axis* as it does for *along*."""
    return any(form.coefficient(axis) and form.coefficient(along) for a in facts_of(s, name).reads for form in a.indices)
