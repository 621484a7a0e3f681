"""What a nest asks of a device built around systolic arrays: a TPU, or an accelerator at the edge.

The arrays take their operands from the core's own memory. So a product whose two operands were brought there by the
schedule (``cache_read(..., "shared")``, and its sums by ``cache_write`` or ``set_scope``) is done by the arrays: what
the loops inside of those copies do is one product of tiles, each turn of the loops around them is a round. Anything
else is done by the vector unit, an operation a lane, and streams through.

A copy that two rounds share is made once, as the schedule says by where it is computed. With ``double_buffer`` the next
round's tiles come while this one is computed. A ``parallel`` loop deals its turns out to the cores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, prod

from flashsched.codegen.analysis.demands import arithmetic_name, compulsory, element_bits
from flashsched.codegen.analysis.reading import Memory, Nest, Site, Touch, reach, turns
from flashsched.errors import DeviceError, Infeasible
from flashsched.hw import DeviceSpec, Work
from flashsched.schedule.ir import For, LoopKind
from flashsched.te import dtypes

__all__ = ["systolic_work"]

SUBLANES, LANES = 8, 128
"""Words of a vector register, where a spec does not say: the last two dimensions of an array are padded to them."""


@dataclass(slots=True)
class _Product:
    """A site whose innermost loops multiply two tiles.

    ``rounds`` are the loops around, ``sizes`` the (m, n, k) of the tiles, ``times`` how many such products stand side
    by side inside of the loops (the batch of a product of batches).
    """

    site: Site
    left: Touch
    right: Touch
    rounds: tuple[For, ...]
    sizes: tuple[int, int, int]
    times: int

    @property
    def number(self) -> float:
        """Products of tiles, of the whole call."""
        return float(prod(turns(loop) for loop in self.rounds) * self.times)


def systolic_work(nest: Nest, spec: DeviceSpec) -> Work:
    """The work of one root nest on *spec*, a device of kind "tpu" or "asic".

    Raises:
        DeviceError: *spec* is of another kind, has no float64, or is an edge accelerator without the dtype of a
            product's operands.
        Infeasible: a loop is bound to blocks or threads.
        LoweringError: a loop's length is not a number.
    """
    if spec.systolic is None and spec.asic is None:
        raise DeviceError(f"device {spec.name!r} is of kind {spec.kind!r}, and has no systolic arrays")
    bound = next((loop for site in nest.sites for loop in site.loops if loop not in site.serial), None)
    if bound is not None:
        reason = f"loop '{bound.var.name}' is bound to {bound.kind.value}, and {spec.name} has no blocks and no threads"
        raise Infeasible(reason, hint="its cores share parallel loops; tiles are staged by cache_read(…, 'shared')")
    if spec.asic is not None and any(site.work.fused and site.reduces for site in nest.sites):
        for memory in nest.memories:
            if memory.given and dtypes.is_float(memory.buffer.dtype):
                spec.peak(memory.buffer.dtype)  # at the edge there is nothing to convert it
    sublanes = spec.systolic.vector_sublanes if spec.systolic else SUBLANES
    lanes = spec.systolic.vector_lanes if spec.systolic else LANES
    found = [product for site in nest.sites if (product := _product(site)) is not None]
    main = max(found, key=lambda one: one.number * prod(one.sizes), default=None)
    on_arrays = {id(one.site) for one in found}

    flops: dict[str, float] = {}
    useful: dict[str, float] = {}
    vector = 0.0
    for site in nest.sites:
        padded = _padded(site, sublanes, lanes)
        for (narrow, wide), number in site.work.flops.items():
            name = arithmetic_name(spec, narrow, wide)
            if id(site) in on_arrays or name in spec.peaks:
                done = number * site.turns
                flops[name] = flops.get(name, 0.0) + done
                useful[name] = useful.get(name, 0.0) + number * min(site.turns * site.holds(), site.domain)
        if id(site) not in on_arrays:
            vector += (site.work.total + site.work.special) * site.turns * padded
    level_bytes = 0.0
    for one in found:
        m, n, k = one.sizes
        width = one.left.memory.width
        level_bytes += one.number * ((m * k + k * n) * width + 4.0 * m * n)
        if any(loop.var in one.site.reduces for loop in one.rounds):  # sums of another round are added to
            vector += one.number * m * n
            level_bytes += one.number * 4.0 * m * n

    mine = [memory for memory in nest.memories if memory.buffer.scope == "shared"]
    copies = [(site, touch) for site in nest.sites for touch in site.touches if touch.memory in mine and touch.write]
    filled = {id(memory): _brought(nest, memory) for memory in mine}
    stages = min((m.versions for m in mine if filled[id(m)]), default=2)
    moved = _streamed(nest, copies) + sum(filled.values())
    last = spec.memory[0].size_bytes * spec.units
    dealt = max((_dealt_out(site) for site in nest.sites), default=1)
    return Work(
        flops=flops,
        useful_flops=useful,
        dram_read_bytes=compulsory(nest, last, write=False),
        dram_write_bytes=compulsory(nest, last, write=True),
        dram_bytes=moved if any(m.kept for m in nest.memories) else 0.0,
        level_bytes={spec.memory[0].name: level_bytes},
        element_bits=element_bits(nest),
        shared_bytes_per_block=sum(memory.size for memory in mine),
        steps=max(1.0, sum(prod(turns(loop) for loop in one.rounds) for one in found)),
        stages=stages,
        parallel_items=dealt,
        product=main.sizes if main else (0, 0, 0),
        products=sum(one.number * prod(one.sizes) for one in found) / prod(main.sizes) if main else 0.0,
        vector_ops=vector,
        weight_bytes=_weights(nest, main) if main else 0.0,
    )


def _product(site: Site) -> _Product | None:
    """*site* as a product of two tiles in the core's memory; None where it is none."""
    reads = [touch for touch in site.touches if not touch.write and touch.memory.buffer.scope == "shared"]
    sums = {id(touch.memory) for touch in site.touches if touch.write}
    operands = [touch for touch in reads if id(touch.memory) not in sums]
    if site.work.fused <= 0 or not site.reduces or len(operands) != 2:
        return None
    if any(touch.memory.buffer.scope == "global" for touch in site.touches):
        return None
    outer = max((touch.memory.around for touch in operands), key=len)
    rounds = tuple(loop for loop in site.serial if loop in outer)
    sizes = {"m": 1, "n": 1, "k": 1, "times": 1}
    left, right = operands
    for loop in site.serial:
        if loop in outer:
            continue
        of = (loop.var in left.offset.vars, loop.var in right.offset.vars)
        if loop.var in site.reduces:
            sizes["k"] *= turns(loop)
        else:
            sizes["m" if of == (True, False) else "n" if of == (False, True) else "times"] *= turns(loop)
    return _Product(site, left, right, rounds, (sizes["m"], sizes["n"], sizes["k"]), sizes["times"])


def _brought(nest: Nest, memory: Memory) -> float:
    """Bytes that copies bring from main memory into *memory*, of the whole call."""
    total = 0.0
    for site in nest.sites:
        into = [touch for touch in site.touches if touch.write and touch.memory is memory]
        copied = [touch for touch in site.touches if not touch.write and touch.memory.buffer.scope == "global"]
        if into and copied:
            total += site.turns * site.holds() * sum(touch.memory.width for touch in copied)
    return total


def _streamed(nest: Nest, copies: Sequence[tuple[Site, Touch]]) -> float:
    """Bytes of main memory that go to the vector unit, or come from it: each element once in a nest."""
    copying = {id(site) for site, _ in copies}
    total = 0.0
    for memory in nest.memories:
        if not memory.kept or memory.buffer.scope == "shared":
            continue
        others = [t for site in nest.sites if id(site) not in copying for t in site.touches if t.memory is memory]
        if others:
            written = any(touch.write for touch in others)
            points = prod(min(span, most) for span, most in reach(others, memory.shape, nest.extents))
            total += points * memory.width * (1.0 if not written or all(t.write for t in others) else 2.0)
    return total


def _padded(site: Site, sublanes: int, lanes: int) -> float:
    """Lanes of the vector unit for each of *site*'s points: rows shorter than a register leave some of it idle."""
    shape = max((touch.memory.shape for touch in site.touches if touch.write), key=prod, default=())
    if not shape or not prod(shape):
        return 1.0
    last = shape[-1]
    before = shape[-2] if len(shape) > 1 else sublanes  # one long row is cut into all of them
    if len(shape) == 1:
        return ceil(last / (lanes * sublanes)) * lanes * sublanes / last
    return (ceil(last / lanes) * lanes / last) * (ceil(before / sublanes) * sublanes / before)


def _dealt_out(site: Site) -> int:
    """Turns of the loops that are dealt out to cores."""
    return prod(turns(loop) for loop in site.loops if loop.kind is LoopKind.PARALLEL)


def _weights(nest: Nest, product: _Product) -> float:
    """Bytes of the caller's array that the right operand of *product* is copied from."""
    for site in nest.sites:
        if any(touch.write and touch.memory is product.right.memory for touch in site.touches):
            given = {id(t.memory): t.memory for t in site.touches if not t.write and t.memory.given}
            return float(sum(memory.elements(nest.extents) * memory.width for memory in given.values()))
    return 0.0
