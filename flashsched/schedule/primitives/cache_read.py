"""cache_read: readers of a tensor get a copy of it, nearer to them."""

from __future__ import annotations

from flashsched.errors import ArgumentError, DependenceError, StructureError, UnknownNameError, did_you_mean
from flashsched.schedule.default import new_stage, root_nest
from flashsched.schedule.ir import SCOPES, Buffer, Load, block_loads
from flashsched.schedule.nest import insert_before_reader
from flashsched.schedule.primitives.blocks import map_loads
from flashsched.schedule.primitives.registry import Result, primitive
from flashsched.schedule.state import Stage, State, refuse
from flashsched.te.expr import Cast, Expr, cast
from flashsched.te.tensor import Axis, ComputeOp, PlaceholderOp, Read
from flashsched.te.visit import walk

__all__ = ["cache_read", "copied", "require_scope", "require_there", "tensor_named", "unused_stage"]


@primitive()
def cache_read(
    state: State, stage: str, scope: str, readers: list[str] | None = None, dtype: str | None = None
) -> Result:
    """Copy the tensor *stage* (a stage's or an input) into a buffer in *scope*, and let *readers* read the copy.

    Rewrite::

        S reads A        ->    for i in range(n):
                                   A.shared[i] = A[i]
                               S reads A.shared

    >>> from flashsched import te
    >>> A = te.placeholder((10,), name="A")
    >>> C = te.compute((10,), lambda i: A[i] + 1, name="C")
    >>> s = te.create_schedule(C)
    >>> s.cache_read(A, "local")
    Tensor(A.local, shape=[10], float32)
    >>> print(s)
    for i0 in range(10):
      A.local(i0=i0):
        A.local[i0] = A[i0]
    for i in range(10):
      C(i=i):
        C[i] = A.local[i] + 1.0

    With *dtype* the copy holds the elements converted, which saves readers that convert each of them at each read. That
    takes readers that do nothing else with them.

    >>> H = te.placeholder((10,), "float16", name="H")
    >>> C = te.compute((10,), lambda i: H[i].astype("float32") + H[9 - i].astype("float32"), name="C")
    >>> s = te.create_schedule(C)
    >>> s.cache_read(H, "local", dtype="float32")
    Tensor(H.local, shape=[10], float32)
    >>> print(s)
    for i0 in range(10):
      H.local(i0=i0):
        H.local[i0] = float32(H[i0])
    for i in range(10):
      C(i=i):
        C[i] = H.local[i] + H.local[9 - i]

    Args:
        state: the schedule's state.
        stage: the stage or the input that is copied.
        scope: ``"global"``, ``"shared"``, ``"local"`` or ``"register"`` (see `set_scope`).
        readers: the stages that read the copy; all by default.
        dtype: what the copy's elements are converted to, as they are in all that *readers* do with them.

    Returns:
        The name of the new stage. Move it with ``compute_at`` so that each turn copies just what it needs.

    Raises:
        ScheduleError: there is no such tensor, scope or reader, or *stage* is not computed at the root; a reader does
            not convert it to *dtype*.
    """
    require_scope(state, scope)
    return copied(state, stage, scope, readers, f"{stage}.{scope}", dtype)


def copied(
    state: State, stage: str, scope: str, readers: list[str] | None, wish: str, dtype: str | None = None
) -> Result:
    """What `cache_read` does; the copy is called *wish*, numbered where there is one."""
    source = tensor_named(state, stage)
    writer = state.stage_of(source)
    others = [s for s in state.stages.values() if s is not writer and not s.inlined]
    users = [s.name for s in others if any(load.buffer is source for load in block_loads(s.block))]
    chosen = users if readers is None else list(readers)
    for reader in chosen:
        if reader not in users:
            refuse(
                state,
                f"{reader!r} does not read {stage!r}",
                error=ArgumentError,
                hint=f"its readers: {', '.join(users) or 'none'}",
            )
    if not chosen:
        refuse(
            state,
            f"nothing reads {stage!r}, so a copy would be read by nobody",
            error=StructureError,
            hint=f"to compute it elsewhere and copy it out: cache_write({stage!r}, {scope!r})",
        )
    require_there(state, writer, "cache_read")
    for reader in chosen if dtype is not None else ():
        _require_converted(state, state.stages[reader], source, str(dtype))
    name = unused_stage(state, wish)
    placeholder = PlaceholderOp(source.name, source.shape, source.dtype)
    tensor = placeholder.output(0) if writer is None else writer.now.output(writer.buffers.index(source))
    axes = tuple(Axis(f"i{n}", extent=extent) for n, extent in enumerate(tensor.shape))
    value: Expr = Read(tensor, axes)
    op = ComputeOp(name, axes, (value if dtype is None else cast(value, dtype),))
    fresh = new_stage(name, op, {id(tensor): source}, scope=scope)
    target = fresh.buffers[0]
    state = map_loads(state, (source,), lambda load: Load(target, load.indices), chosen)
    nest, fresh = root_nest(fresh)
    first = next(s for s in state.stages if s in chosen)
    state = state.with_stage(fresh, before=first)
    return state.with_body(insert_before_reader(state.body, nest, fresh.buffers)), (name,)


def _require_converted(state: State, reader: Stage, source: Buffer, dtype: str) -> None:
    """Refuse a *reader* that does anything but convert the elements of *source* to *dtype*."""
    values = [expr for store in reader.block.stores for expr in (store.value, *store.indices)]
    nodes = [node for value in values for node in walk(value)]
    reads = sum(isinstance(node, Load) and node.buffer is source for node in nodes)
    converted = sum(
        isinstance(node, Cast) and node.dtype == dtype and isinstance(node.value, Load) and node.value.buffer is source
        for node in nodes
    )
    if reads != converted or reads == 0:  # an extern stage reads it without a load
        refuse(
            state,
            f"{reader.name!r} does not convert {source.name!r} to {dtype} wherever it reads it",
            error=ArgumentError,
            block=reader.name,
            hint=f"leave out dtype, or name the readers that do: they would see {dtype} for {source.dtype}",
        )


def require_there(state: State, writer: Stage | None, step: str) -> None:
    """Refuse a *step* that reads all of what *writer* computes where just parts of it exist."""
    if writer is not None and writer.attach is not None:
        refuse(
            state,
            f"{writer.name!r} is computed at loop {writer.attach[1]!r} of {writer.attach[0]!r}, "
            "and does not exist outside",
            error=DependenceError,
            block=writer.name,
            hint=f"call {step} before {writer.name}.compute_at",
        )


def tensor_named(state: State, name: str) -> Buffer:
    for buffer in state.params:
        if buffer.name == name:
            return buffer
    for stage in state.stages.values():
        for buffer in stage.buffers:
            if buffer.name == name:
                if stage.inlined:
                    refuse(
                        state,
                        f"stage {stage.name!r} was inlined into its readers, and there is nothing left to copy",
                        error=UnknownNameError,
                        hint="call cache_read first, then compute_inline: the copy then computes it",
                    )
                return buffer
    known = [b.name for b in state.params] + [b.name for s in state.stages.values() for b in s.buffers]
    refuse(state, f"no tensor named {name!r}", error=UnknownNameError, hint=did_you_mean(name, known))


def unused_stage(state: State, base: str) -> str:
    """*base*, numbered where a stage or an input has that name."""
    taken = {*state.stages, *(b.name for b in state.params)}
    name, number = base, 1
    while name in taken:
        number += 1
        name = f"{base}{number}"
    return name


def require_scope(state: State, scope: str) -> None:
    """Refuse a scope that there is none of."""
    if scope not in SCOPES:
        refuse(state, f"no memory scope {scope!r}", error=UnknownNameError, hint=did_you_mean(str(scope), SCOPES))
