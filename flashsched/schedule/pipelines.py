"""Which pieces of a loop's body run ahead of others, and what must hold for that: the plan of a software pipeline.

The primitives ask whether there is a plan, at the user's line; lowering carries it out. Both see the body as a list of
pieces with the names of what they read and write. A piece in stage ``s`` works on turn ``t - s`` while the body is at
step ``t``; pieces of one step run in the order of their numbers.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from flashsched.errors import DependenceError
from flashsched.schedule.ir import For, Seq, block_loads, blocks, walk_stmt
from flashsched.schedule.recurrence import is_state
from flashsched.schedule.state import State

__all__ = ["Piece", "Plan", "pieces_of", "plan", "private_to"]


@dataclass(frozen=True, slots=True)
class Piece:
    """A statement of the body, as the names of the buffers that it *writes* and *reads*."""

    writes: frozenset[str]
    reads: frozenset[str]

    def __str__(self) -> str:
        return " and ".join(map(repr, sorted(self.writes)))

    def feeds(self, other: Piece) -> frozenset[str]:
        """What *other*, a later piece, reads or writes of what this one writes."""
        return self.writes & (other.reads | other.writes)


@dataclass(frozen=True, slots=True)
class Plan:
    """For each piece its stage and its place in a step, and for each buffer that needs several how many versions."""

    stages: tuple[int, ...]
    places: tuple[int, ...]
    versions: Mapping[str, int]

    @property
    def depth(self) -> int:
        """How many steps the last piece is behind the first."""
        return max(self.stages, default=0)

    @property
    def order(self) -> list[int]:
        """The pieces in the order in which a step runs them."""
        return sorted(range(len(self.places)), key=lambda number: (self.places[number], number))


def pieces_of(loop: For) -> list[Piece]:
    """The pieces of the body of *loop*, in a scheduled nest."""
    found = []
    for stmt in loop.body.stmts if isinstance(loop.body, Seq) else (loop.body,):
        inner = list(blocks(stmt))
        writes = {store.buffer.name for block in inner for store in block.stores}
        reads = {load.buffer.name for block in inner for load in block_loads(block)}
        for call in (block.extern for block in inner if block.extern is not None):
            writes |= {buffer.name for buffer in call.outputs}
            reads |= {buffer.name for buffer in call.inputs}
        found.append(Piece(frozenset(writes), frozenset(reads)))
    return found


def private_to(state: State, loop: For) -> set[str]:
    """The buffers that only the body of *loop* uses, each turn anew: their stages stand there.

    The states of a scan stand in its loop over time as well, and are kept for all of it.
    """
    inner = {id(node) for node in walk_stmt(loop)}
    found: set[str] = set()
    for block in blocks(loop.body):
        stage = state.stages[block.name]  # readers of a stage that is computed at a loop stand in it, too
        own = stage.attach is not None and not (stage.output or stage.follows or stage.init_of or is_state(stage))
        if own and stage.attach is not None and id(state.loop(*stage.attach)) in inner:
            found |= {buffer.name for buffer in stage.buffers if buffer.rolling is None}
    for call in (block.extern for block in blocks(loop.body) if block.extern is not None):
        found -= {buffer.name for buffer in (*call.inputs, *call.outputs)}  # which sees all of a buffer, as one array
    return found


def plan(
    pieces: Sequence[Piece],
    private: Collection[str],
    wanted: Mapping[str, tuple[int, int]],
    doubled: Collection[str] = (),
) -> Plan:
    """How the pieces of a body are to run.

    Args:
        pieces: the body, in order.
        private: the buffers that each turn fills anew, and only this body uses.
        wanted: stage and place of a piece, by a buffer that it writes. A piece that is not named runs with the first
            that needs it.
        doubled: buffers to be filled one turn ahead, in two versions; *wanted* is empty then.

    Raises:
        DependenceError: a piece would run before what it needs, or pieces that share memory would be torn apart.
    """
    if doubled:
        wanted = _ahead(pieces, doubled)
    stages, places = [0] * len(pieces), [0] * len(pieces)
    last = max((stage for stage, _ in wanted.values()), default=0), len(pieces)
    for number in reversed(range(len(pieces))):
        named = [wanted[name] for name in sorted(pieces[number].writes) if name in wanted]
        after = [n for n in range(number + 1, len(pieces)) if pieces[number].feeds(pieces[n])]
        needed = min(((stages[n], places[n]) for n in after), default=last)
        stages[number], places[number] = named[0] if named else needed
    versions = dict.fromkeys(doubled, 2)
    for first, before in enumerate(pieces):
        for second in range(first + 1, len(pieces)):
            after_it = pieces[second]
            ahead = stages[second] - stages[first]
            later = (places[second], second) > (places[first], first)
            shared = before.feeds(after_it)
            if (shared and ahead < 0) or (shared and ahead == 0 and not later):
                raise DependenceError(
                    f"{after_it} needs {', '.join(map(repr, sorted(shared)))}, and would run before it is computed",
                    hint="a piece comes in the stage of what it reads or a later one, and after it in one stage",
                )
            kept = (shared | (before.reads & after_it.writes)) - set(private)
            if kept and (ahead or not later):
                raise DependenceError(
                    f"{before} and {after_it} share {', '.join(map(repr, sorted(kept)))}, which outlives the turn, and "
                    "would work on different turns of it",
                    hint="put both in one stage, in their order",
                )
            for name in before.writes & after_it.reads:
                if name in private:  # turn t + n may be written once turn t has been read
                    versions[name] = max(versions.get(name, 1), ahead + 1 if later else ahead)
    return Plan(tuple(stages), tuple(places), {name: count for name, count in versions.items() if count > 1})


def _ahead(pieces: Sequence[Piece], doubled: Collection[str]) -> dict[str, tuple[int, int]]:
    """What fills *doubled* buffers, and what that needs, in the first of two stages and the first places of a step."""
    first = {number for number, piece in enumerate(pieces) if piece.writes & set(doubled)}
    for number in reversed(range(len(pieces))):
        if any(number < n and pieces[number].feeds(pieces[n]) for n in first):
            first.add(number)
    return {name: (0, 0) if number in first else (1, 1) for number, piece in enumerate(pieces) for name in piece.writes}
