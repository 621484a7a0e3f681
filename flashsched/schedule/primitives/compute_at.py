"""compute_at and compute_root: where a stage is computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from flashsched.errors import ArgumentError, DependenceError, OutputError, StructureError
from flashsched.schedule.derive import derive, require_readers_inside
from flashsched.schedule.facts import stages_in
from flashsched.schedule.ir import For, LoopKind
from flashsched.schedule.nest import reads
from flashsched.schedule.primitives.loops import loops_around, require_no_init
from flashsched.schedule.primitives.opaque import require_te
from flashsched.schedule.primitives.registry import Result, primitive
from flashsched.schedule.recurrence import require_unscanned
from flashsched.schedule.state import Stage, State, refuse

__all__ = ["compute_at", "moved", "rolled_anew"]


@primitive()
def compute_at(state: State, stage: str, at: list[str]) -> Result:
    """Compute of *stage*, in each turn of a consumer's loop, just the part that this turn reads.

    Rewrite::

        for i in range(n):               ->    for i in range(n):
            P                                      P over what S reads in this turn
        for i in range(n):                         S
            S

    The part is the union over all readers in the loop; parts of different turns that overlap are computed again. The
    stage's own steps (splits, kinds, …) are kept, whether they came before or come after.

    >>> from flashsched import te
    >>> A = te.placeholder((8,), name="A")
    >>> P = te.compute((8,), lambda i: A[i] + 1, name="P")
    >>> C = te.compute((8,), lambda i: P[i] * 2, name="C")
    >>> s = te.create_schedule(C)
    >>> outer, _ = s[C].split("i", factor=4)
    >>> s[P].compute_at(s[C], outer)
    >>> print(s)
    for i.o in range(2):
      for i in range(4):
        P(i=i.o * 4 + i):
          P[i] = A[i] + 1.0
      for i.i in range(4):
        C(i=i.o * 4 + i.i):
          C[i] = P[i] * 2.0

    Args:
        state: the schedule's state.
        stage: the producer.
        at: the consumer's stage and its loop.

    Raises:
        ScheduleError: *stage* is an output; someone reads it outside the loop; it reads what does not exist there;
            the loop is vectorized; a step of the stage can't be repeated there.
    """
    if len(at) != 2:
        refuse(
            state,
            f"at must be a stage and one of its loops, got {at}",
            error=ArgumentError,
            hint="s[P].compute_at(s[C], loop)",
        )
    consumer, loop = at
    known = state.stage(stage)
    require_no_init(state, known)
    if known.output:
        refuse(
            state,
            f"{stage!r} is an output, and the caller sees all of it",
            error=OutputError,
            block=stage,
            hint=f"compute what it reads at its loops, or make a copy of it: cache_write({stage!r}, 'local')",
        )
    require_te(state, known, "computed at a loop")
    require_unscanned(state, known, "computed at a loop")
    if consumer == stage:
        refuse(
            state,
            f"{stage!r} can't be computed inside itself",
            error=ArgumentError,
            block=stage,
            hint="name a stage that reads it, and one of that stage's loops",
        )
    if consumer in inside_of(state, stage):
        refuse(
            state,
            f"{consumer!r} is computed inside {stage!r}, and can't hold it",
            error=StructureError,
            block=consumer,
            hint=f"move {consumer!r} first: compute_root",
        )
    target = state.loop(consumer, loop)
    if stage not in stages_in(target.body) and not reads(target.body, known.buffers):
        refuse(
            state,
            f"nothing inside loop {loop!r} of {consumer!r} reads {stage!r}",
            error=StructureError,
            loop=target.var,
            hint=f"its readers: {', '.join(_readers(state, known)) or 'none'}",
        )
    require_readers_inside(state, known, (consumer, loop))
    require_room(state, stage, target)
    return moved(state, stage, (consumer, loop)), ()


def require_room(state: State, stage: str, target: For) -> None:
    """Refuse the loop *target* for *stage* if what it reads does not exist there, or the loop holds no other nests."""
    around = (*loops_around(state, target), target)
    _require_inputs(state, stage, around)
    for node in around:
        if node.kind is LoopKind.VECTORIZE:
            refuse(
                state,
                f"loop {node.var.name!r} is vectorized, and nothing can be computed inside a vector instruction",
                error=StructureError,
                loop=node.var,
                hint="choose a loop further out",
            )


def moved(state: State, stage: str, attach: tuple[str, str] | None, *, follows: bool = False) -> State:
    """*state* with *stage* at another place, and with what it reads made anew for what it needs there."""
    known = state.stages[stage]
    store = known.store if attach == known.attach else None
    state = derive(state.with_stage(replace(known, attach=attach, follows=follows, store=store)), stage)
    changed = inside_of(state, stage)
    for name in reversed(list(state.stages)):  # readers before what they read
        known = state.stages[name]
        if known.attach is not None and not known.follows and name not in changed and _reads(state, changed, known):
            state = derive(state, name)
            changed |= inside_of(state, name)
    return state


def rolled_anew(state: State, stage: str, loop: str) -> State:
    """*state* in which the windows that turns of *loop* hand on are those of the turns that it has now."""
    for name in reversed(list(state.stages)):  # readers before what they read
        known = state.stages[name]
        if known.rolling and known.attach == (stage, loop):
            state = moved(state, name, known.attach)
    return state


def _require_inputs(state: State, stage: str, around: Sequence[For]) -> None:
    """Refuse a place for *stage*, inside the loops *around*, where a stage that it reads does not exist yet."""
    moving = inside_of(state, stage)
    for known in state.stages.values():
        if known.attach is None or known.follows or known.name in moving or not _reads(state, moving, known):
            continue
        place = state.loop(*known.attach)
        if not any(node is place for node in around):
            refuse(
                state,
                f"{stage!r} reads {known.name!r}, which is computed at loop {known.attach[1]!r} of "
                f"{known.attach[0]!r} and does not exist outside",
                error=DependenceError,
                loop=place.var,
                hint=f"move {known.name!r} first: compute_at or compute_root",
            )


def inside_of(state: State, stage: str) -> set[str]:
    """*stage* and all that is computed inside it."""
    return {stage}.union(*(inside_of(state, inner.name) for inner in state.attached_to(stage)))


def _readers(state: State, source: Stage) -> list[str]:
    return [name for name in state.stages if name != source.name and _reads(state, {name}, source)]


def _reads(state: State, readers: set[str], source: Stage) -> bool:
    readers = readers & {source.init_of} if source.init_of is not None else readers
    blocks = [state.stages[name].block for name in readers]
    return any(reads(block, source.buffers) for block in blocks)


@primitive()
def compute_root(state: State, stage: str) -> Result:
    """Compute all of *stage* in a nest of its own before its first reader, as at the beginning.

    Raises:
        ScheduleError: *stage* was inlined, or reads what is computed at a loop; a step of the stage can't be repeated
            there.
    """
    known = state.stage(stage)
    require_no_init(state, known)
    if known.attach is None:
        return state, ()
    require_unscanned(state, known, "computed elsewhere")
    _require_inputs(state, stage, ())
    return moved(state, stage, None), ()
