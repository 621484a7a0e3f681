"""Steps that were taken before: whoever makes many schedules of one program takes each step on each nest once.

Nothing of a state is ever changed, so what a step made of it holds for good. Two schedules that begin with the same
steps share these states, and all that is known of their statements (`flashsched.schedule.facts`).
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from flashsched.schedule.primitives import apply
from flashsched.schedule.state import State

__all__ = ["RememberedSteps"]

_MOST = 4096
"""Steps that are remembered, the latest; one takes some 10 KB."""


class RememberedSteps:
    """What each step made of each state, of the latest steps that were taken through this."""

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._known: OrderedDict[tuple[int, str, str, str], tuple[State, State, tuple[str, ...]]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def apply(self, state: State, name: str, stage: str, args: dict[str, Any]) -> tuple[State, tuple[str, ...]]:
        """As `flashsched.schedule.primitives.apply`; a step that is refused is refused anew each time."""
        key = (id(state), name, stage, repr(args))  # the entry keeps the state, so that no other gets its id
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = (state, *apply(state, name, stage, args))
            if len(self._known) > self._most:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(key)
        return found[1], found[2]
