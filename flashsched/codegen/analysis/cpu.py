"""What a nest asks of a CPU: vector instructions, bytes between the levels of cache, iterations to deal out.

A core's loads and stores are counted as instructions, each taking a port as long as a whole vector does, a broadcast
or a scalar too; a gather takes one for each lane. Straight code (unrolled and vectorized inner loops) keeps what it
reads in registers; a tile of sums that is larger than the register file is stored and loaded again. What the
levels behind the first move is found by `traffic`.
"""

from __future__ import annotations

from itertools import pairwise
from math import ceil, prod

from flashsched.codegen.analysis.demands import arithmetic_name, compulsory, element_bits
from flashsched.codegen.analysis.reading import Memory, Nest, Site, Touch, turns
from flashsched.codegen.analysis.traffic import Traffic
from flashsched.errors import DeviceError
from flashsched.hw import DeviceSpec, Work
from flashsched.hw.spec import CpuUnit
from flashsched.schedule.ir import LoopKind
from flashsched.te import dtypes
from flashsched.te.expr import Var

__all__ = ["cpu_work"]

LOOP_INSTRUCTIONS = 2.0
"""Counter and fused compare-and-branch of a rolled loop, each turn."""

GUARD_INSTRUCTIONS = 2.0
"""Comparison and mask or branch of a condition, each time it is tried."""

MOST_CHAINS = 64.0
"""Independent accumulations that out-of-order execution finds in rolled loops: a few hundred instructions' worth."""


SHORT_CHAIN = 16
"""Additions into one element, one after another, that out-of-order execution sees past to the next element's."""


def cpu_work(nest: Nest, spec: DeviceSpec, held_bytes: float | None = None) -> Work:
    """The work of one root nest on the CPU *spec*.

    Args:
        nest: the nest.
        spec: the device.
        held_bytes: what all nests of the kernel touch, for one of many calls on the same data: what fits a cache is
            there already. By default it is the first call.

    Raises:
        DeviceError: *spec* is no CPU.
        LoweringError: a loop's length is not a number.
    """
    unit = spec.cpu
    if unit is None:
        raise DeviceError(f"device {spec.name!r} is of kind {spec.kind!r}, not a CPU")
    registers = {id(memory) for memory in nest.memories if _in_registers(nest, memory)}
    in_memory = [(s, t) for s in nest.sites for t in s.touches if id(t.memory) not in registers]

    flops: dict[str, float] = {}
    useful: dict[str, float] = {}
    fused = special = vectors = total = 0.0
    for site in nest.sites:
        done = site.turns * site.holds()
        issued = site.turns * _issued(site)
        fused += site.work.fused * issued
        special += site.work.special * issued
        for (narrow, wide), number in site.work.flops.items():
            name = arithmetic_name(spec, narrow, wide)
            flops[name] = flops.get(name, 0.0) + number * issued
            useful[name] = useful.get(name, 0.0) + number * min(done, site.domain)
            total += number * issued
            vectors += number * issued / _lanes(site, unit, dtypes.bits(wide))

    spilled = _spilled(nest, registers, unit)
    accesses = sum(_instructions(site, touch, unit) for site, touch in in_memory) + 2.0 * spilled
    loops: dict[int, float] = {}
    others = accesses
    for site in nest.sites:
        trips = 1.0
        for loop in site.rolled:
            trips *= turns(loop)
            loops[id(loop)] = trips
        others += sum(GUARD_INSTRUCTIONS * _tries(site, loops_of) for loops_of, _ in site.guards)
        others += GUARD_INSTRUCTIONS * site.work.conditions * site.turns / _lanes(site, unit, element_bits(nest))
    others += LOOP_INSTRUCTIONS * sum(loops.values())

    fma_share = fused / total if total else 1.0
    arithmetic = vectors * (1.0 - fma_share / 2.0)
    traffic = Traffic(nest, registers, held_bytes, spec.units)
    caches = spec.memory[:-1]
    near = {caches[0].name: accesses * unit.vector_bits / 8} if caches else {}
    near |= {
        level.name: traffic.into(inner.size_bytes, own=inner.shared_by == "unit") for inner, level in pairwise(caches)
    }
    last = caches[-1].size_bytes if caches else 0.0
    read, written = (compulsory(nest, last, write=write) for write in (False, True))
    stays = not any(memory.given for memory in nest.memories) and traffic.footprint <= last
    items = _dealt_out(nest)
    return Work(
        flops=flops,
        useful_flops=useful,
        fma_share=fma_share,
        special_ops=special,
        dram_read_bytes=read,
        dram_write_bytes=written,
        dram_bytes=0.0 if stays else traffic.into(last),
        warm=held_bytes is not None,
        level_bytes=near,
        vector_lanes=max(1.0, total / vectors) if vectors else max(1.0, *(_lanes(s, unit, 32) for s in nest.sites)),
        element_bits=element_bits(nest),
        threads=spec.units if items > 1 else 1,
        parallel_items=items,
        registers_per_thread=_tile_vectors(nest, registers, unit),
        accumulators=_chains(nest, unit),
        overhead_per_op=others / arithmetic if arithmetic else 0.0,
    )


def _in_registers(nest: Nest, memory: Memory) -> bool:
    """Whether a buffer is a thread's own and every access to it is known when the code is made."""
    if not memory.buffer.is_own:
        return False
    for site in nest.sites:
        fixed = {loop.var for loop in site.written_out}
        if any(touch.memory is memory and not touch.offset.vars <= fixed for touch in site.touches):
            return False
    return True


def _issued(site: Site) -> float:
    """The share of a site's vectors that are run: a lane that is masked off costs what a busy one does."""
    if site.vector is None:
        return site.holds()
    var = site.vector.var
    return prod((_first_lane(site, part) if var in loops else part for loops, part in site.guards), start=1.0)


def _first_lane(site: Site, part: float) -> float:
    """The share of vectors with any lane on, where *part* of all lanes are: those of the last vector round up."""
    assert site.vector is not None
    vectors = max(1.0, site.turns / turns(site.vector))
    return min(1.0, ceil(part * vectors) / vectors)


def _lanes(site: Site, unit: CpuUnit, bits: int) -> float:
    """Elements that one of the site's vector instructions does, the last one of a ragged vector loop included."""
    if site.vector is None:
        return 1.0
    count = turns(site.vector)
    return count / ceil(count / unit.lanes(bits))


def _instructions(site: Site, touch: Touch, unit: CpuUnit) -> float:
    """Loads or stores of a core for *touch*, in all."""
    return site.repeated(touch.needs) * _issued(site) * _at_once(site, touch, unit)


def _at_once(site: Site, touch: Touch, unit: CpuUnit) -> float:
    """Loads or stores for *touch* in one turn of the rolled loops; as many registers hold what it reads or writes."""
    number = float(
        prod(turns(loop) for loop in site.written_out if loop.var in touch.needs and loop is not site.vector)
    )
    if site.vector is None or site.vector.var not in touch.needs:
        return number
    count = turns(site.vector)
    if abs(touch.offset.step(site.vector.var) or 0) == 1:
        return number * ceil(count * touch.memory.width * 8 / unit.vector_bits)
    return number * count  # a gather


def _tries(site: Site, loops: frozenset[Var]) -> float:
    """How often a condition is tried that *loops* decide; all lanes of a vector at once."""
    written_out = [loop for loop in site.written_out if loop.var in loops and loop is not site.vector]
    return site.repeated(loops) * prod(turns(loop) for loop in written_out)


def _vectors(memory: Memory, nest: Nest, unit: CpuUnit) -> int:
    """Vector registers that hold *memory*: whole ones for each row of its last dimension where it is vectorized."""
    bits = memory.width * 8
    sites = [s for s in nest.sites if any(t.memory is memory for t in s.touches) and s.vector is not None]
    if not sites:
        return prod(memory.shape)
    row = memory.shape[-1] if memory.shape else 1
    return prod(memory.shape[:-1]) * ceil(row / unit.lanes(bits))


def _tile_vectors(nest: Nest, registers: set[int], unit: CpuUnit) -> int:
    """Vector registers that the tile in registers takes, with one operand of each load.

    Sums in memory are in registers too, while the innermost loop adds to the same ones.
    """
    main = nest.main
    tile = float(sum(_vectors(memory, nest, unit) for memory in nest.memories if id(memory) in registers))
    if main is None:
        return max(1, int(tile))
    others = [touch for touch in main.touches if id(touch.memory) not in registers]
    if main.rolled and main.rolled[-1].var in main.reduces:
        sums = {id(t.memory): t for t in others if t.write and main.rolled[-1].var not in t.needs}
        tile += sum(_at_once(main, touch, unit) for touch in sums.values())
        others = [touch for touch in others if id(touch.memory) not in sums]
    return max(1, ceil(tile) + len({id(touch.memory) for touch in others}))


def _spilled(nest: Nest, registers: set[int], unit: CpuUnit) -> float:
    """Vectors of the tile that find no register, each stored and loaded again in each turn of the rolled loops."""
    main = nest.main
    if main is None:
        return 0.0
    missing = _tile_vectors(nest, registers, unit) - unit.vector_registers
    return max(0.0, float(missing)) * main.repeated(frozenset(nest.extents)) * _issued(main)


def _chains(nest: Nest, unit: CpuUnit) -> float:
    """Vectors that accumulate independently of one another."""
    main = nest.main
    if main is None or not main.reduces:
        return MOST_CHAINS
    spatial = frozenset(var for touch in main.touches if touch.write for var in touch.places)
    number, length = 1.0, 1
    for loop in reversed(main.loops):
        if loop.var in main.reduces:
            length *= turns(loop)
            if length > SHORT_CHAIN:
                break
        elif loop.var in spatial:
            number *= turns(loop) / (_lanes(main, unit, element_bits(nest)) if loop is main.vector else 1.0)
    return max(1.0, min(MOST_CHAINS, number))


def _dealt_out(nest: Nest) -> float:
    """Turns of the outermost parallel loop; 1 where there is none."""
    found = 1.0
    for site in nest.sites:
        for loop in site.loops:
            if loop.kind is LoopKind.PARALLEL:
                found = max(found, float(turns(loop)))
                break
    return found
