"""What a nest asks of a GPU: each root nest is a kernel, its bound loops the grid and the block.

Straight code (unrolled and vectorized inner loops) keeps what it reads in registers, so a value is loaded once however
often it is used there; a rolled loop loads anew whatever depends on it. Accesses are counted by thread, and by the
sectors and banks that the lanes of a warp need together. Conditions cost their threads the time all the same, unless
all threads agree on them. Registers are estimated: the thread's own tile, its operands, and a base. Where a thread axis
runs over a reduction, each thread reduces its part, and a tree of shuffles combines the parts.

What a warp's lanes do together by an intrinsic is one piece of straight code: each operand is fetched once, and the
sums are shared out among the lanes' registers. Only that is done on tensor cores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, log2, prod

from flashsched.codegen.analysis.demands import arithmetic_name, compulsory, element_bits
from flashsched.codegen.analysis.instructions import GUARD_INSTRUCTIONS, conversions, index_instructions
from flashsched.codegen.analysis.lanes import (
    VECTOR_BYTES,
    Threads,
    fetch_conflict,
    lines_apart,
    sector_turns,
    sectors,
    vector_width,
    warps,
    wavefronts,
)
from flashsched.codegen.analysis.reading import Memory, Nest, Site, Touch, turns
from flashsched.errors import DeviceError
from flashsched.hw import DeviceSpec, Work
from flashsched.hw.gpu import TENSOR_MACS
from flashsched.schedule.ir import For, LoopKind
from flashsched.te import dtypes
from flashsched.te.expr import Var

__all__ = ["gpu_work"]

BASE_REGISTERS = 24
"""Addresses, indices and counters of a kernel that reduces, as ``ptxas -v`` says of the templates' kernels."""

PLAIN_REGISTERS = 10
"""The same of one that does not: it has one address for each array, and no tile (``ptxas -v``)."""

MOST_AHEAD = 32.0, 32.0
"""Registers that wait for loads: of tiles on their way to shared memory, and of a kernel that does not reduce. More of
them are loaded in turn (``ptxas -v``)."""

REGISTER_STEP = 8
"""Registers are given to threads in steps (CUDA occupancy calculator, recalled)."""

MOST_IN_FLIGHT = 256.0
"""Bytes of loads that one thread has outstanding: 64 registers waiting. Estimated."""

LOOP_INSTRUCTIONS = 3.0
"""Counter, comparison and branch of a rolled loop, each turn."""

COMBINE_INSTRUCTIONS = 2.0
"""A shuffle and the operation itself, in each step of the tree in which threads combine what each of them has."""

_THREADS = (LoopKind.THREAD_X, LoopKind.THREAD_Y, LoopKind.THREAD_Z)
_BLOCKS = (LoopKind.BLOCK_X, LoopKind.BLOCK_Y, LoopKind.BLOCK_Z)


@dataclass(slots=True)
class _Kernel:
    """A nest with its grid."""

    nest: Nest
    spec: DeviceSpec
    threads: Threads
    blocks: int

    def in_registers(self, memory: Memory) -> bool:
        """Whether a buffer is a thread's own and every access to it is known when the code is made."""
        if not memory.buffer.is_own:
            return False
        for site in self.nest.sites:
            fixed = {loop.var for loop in site.loops if loop not in site.rolled}
            if any(touch.memory is memory and not touch.offset.vars <= fixed for touch in site.touches):
                return False
        return True

    def times(self, site: Site, touch: Touch) -> float:
        """How often one thread moves an element."""
        return site.repeated(touch.needs) * site.copies(touch.needs) * site.holds()


def gpu_work(nest: Nest, spec: DeviceSpec) -> Work:
    """The work of one kernel on the GPU *spec*.

    A nest without bound loops is one thread, and as slow as that is.

    Raises:
        DeviceError: *spec* is no GPU.
        LoweringError: a loop's length is not a number.
    """
    if spec.gpu is None:
        raise DeviceError(f"device {spec.name!r} is of kind {spec.kind!r}, not a GPU")
    bound = {loop.kind: turns(loop) for site in nest.sites for loop in site.loops}
    x, y, z = (bound.get(kind, 1) for kind in _THREADS)
    threads = Threads(x, y, z, spec.gpu.warp_size)
    kernel = _Kernel(nest, spec, threads, prod(bound.get(kind, 1) for kind in _BLOCKS))
    registers = {id(memory) for memory in nest.memories if kernel.in_registers(memory)}
    all_threads = kernel.blocks * threads.count

    flops, useful, fused, special = _arithmetic(kernel)
    wanted, spilled = _registers(kernel, registers)
    in_memory = [(site, touch) for site in nest.sites for touch in site.touches if id(touch.memory) not in registers]
    shared = [(s, t) for s, t in in_memory if t.memory.is_shared]
    global_ = [(s, t) for s, t in in_memory if t.memory.buffer.scope == "global" and not t.memory.is_shared]
    own = [(s, t) for s, t in in_memory if t.memory.buffer.is_own]

    moved, fetched = {True: 0.0, False: 0.0}, 0.0  # by whether it is a store; bytes of sectors
    lane_bytes = 0.0
    for site, touch in global_:
        at_work = threads.at_work(site)
        often = site.repeated(touch.needs) * site.holds() * warps(at_work, threads.warp) * kernel.blocks
        mine, sector_bytes = sectors(site, touch, threads)
        moved[touch.write] += mine * often
        fetched += sector_bytes * often
        apart = lines_apart(site, touch, threads)
        lane_bytes += kernel.times(site, touch) * touch.memory.width * at_work * kernel.blocks * apart
    for site, touch in own:  # a thread's array that does not fit registers, or is indexed at run time: local memory
        lane_bytes += kernel.times(site, touch) * touch.memory.width * threads.at_work(site) * kernel.blocks
    lane_bytes += spilled * 8.0 * all_threads

    banked = {True: 0.0, False: 0.0}
    conflicting = 0.0
    for site, touch in shared:
        mine = kernel.times(site, touch) * touch.memory.width * threads.at_work(site)
        alone, all_of = (1.0, fetch_conflict(site, touch)) if site.together else wavefronts(site, touch, threads)
        banked[touch.write] += mine * alone
        conflicting += mine * all_of
    shared_moved = banked[True] + banked[False]

    main = nest.main
    lanes = 1 if main is None else main.lanes
    issued = TENSOR_MACS / spec.gpu.warp_size if lanes > 1 else 1.0  # operations of an instruction
    per_thread = (sum(flops.values()) - fused / 2.0) / all_threads / issued
    others = _other_instructions(kernel, in_memory) + 2.0 * spilled
    loads = [(s, t) for s, t in global_ if not t.write] or global_
    steps, in_flight = _rounds(kernel, loads)
    steps += sum(map(_added_up, nest.sites)) * spec.level("l2").latency_s / spec.dram.latency_s
    coalescing = min(1.0, (moved[True] + moved[False]) / fetched) if fetched else 1.0
    return Work(
        flops=flops,
        useful_flops=useful,
        fma_share=fused / sum(flops.values()) if flops else 1.0,
        special_ops=special,
        dram_read_bytes=compulsory(nest, spec.level("l2").size_bytes, write=False),
        dram_write_bytes=compulsory(nest, spec.level("l2").size_bytes, write=True),
        coalescing=coalescing,
        blocks=kernel.blocks,
        threads_per_block=threads.count,
        l2_read_bytes=moved[False],
        l2_write_bytes=moved[True],
        global_lane_bytes=lane_bytes,
        shared_bytes_per_block=sum(m.size * m.by_threads for m in nest.memories if m.is_shared),
        shared_load_bytes=banked[False],
        shared_store_bytes=banked[True],
        steps=steps,
        stages=min((memory.versions for memory in nest.memories if memory.is_shared), default=1),
        barriers=_barriers(nest, threads.warp),
        guarded=_guarded(main),
        registers_per_thread=wanted,
        bytes_in_flight=in_flight / coalescing,
        bank_conflict=max(1.0, conflicting / shared_moved) if shared_moved else 1.0,
        element_bits=element_bits(nest),
        accumulators=_chains(nest),
        overhead_per_op=others / per_thread if per_thread else 0.0,
    )


def _arithmetic(kernel: _Kernel) -> tuple[dict[str, float], dict[str, float], float, float]:
    """Operations as they are issued (idle lanes included) by dtype, useful ones, fused ones, special ones."""
    flops: dict[str, float] = {}
    useful: dict[str, float] = {}
    fused = special = 0.0
    for site in kernel.nest.sites:
        over_threads = [loop.var for loop in site.loops if loop.kind.is_thread]
        issued = site.turns * site.holds(apart_from=over_threads) * kernel.threads.count / site.lanes * kernel.blocks
        done = site.turns * site.holds() * kernel.threads.at_work(site) * kernel.blocks
        for (narrow, wide), number in site.work.flops.items():
            if site.lanes == 1:  # plain cores compute in the wide type, and narrow floats as float32
                narrow = wide = "float32" if dtypes.is_float(wide) and dtypes.bits(wide) < 32 else wide
            name = arithmetic_name(kernel.spec, narrow, wide)
            flops[name] = flops.get(name, 0.0) + number * issued
            useful[name] = useful.get(name, 0.0) + number * min(issued, done, site.domain)
        fused += site.work.fused * issued
        special += site.work.special * issued
    return flops, useful, fused, special


def _registers(kernel: _Kernel, in_registers: set[int]) -> tuple[int, float]:
    """Registers of a thread, and how often one that there was none for is stored and loaded again: each step."""
    unit = kernel.spec.gpu
    assert unit is not None
    nest, main = kernel.nest, kernel.nest.main
    inside = dict(nest.extents)
    for site in nest.sites:
        for loop in site.loops:
            if loop.kind.is_thread or loop.kind.is_block:
                inside.pop(loop.var, None)
    words = float(BASE_REGISTERS if main is None or main.reduces else PLAIN_REGISTERS)
    for memory in nest.memories:
        if id(memory) in in_registers:
            lanes = max((site.lanes for site in nest.sites if any(t.memory is memory for t in site.touches)), default=1)
            words += memory.elements(inside) * ceil(memory.width / 4) / lanes
    if main is not None:  # operands, those of one step of the reduction, or of all that is written out
        loads = [touch for touch in main.touches if id(touch.memory) not in in_registers]
        loads = loads if main.reduces else [touch for touch in loads if not touch.write]
        wanted = sum(_operands(main, touch) * _words(main, touch) for touch in loads)
        words += max(wanted, min(_ahead(nest), MOST_AHEAD[0])) if main.reduces else min(wanted, MOST_AHEAD[1])
    held = warps(kernel.threads.count, unit.warp_size) * unit.warp_size
    most = min(unit.max_registers_per_thread, unit.registers // held // REGISTER_STEP * REGISTER_STEP)
    asked = ceil(words / REGISTER_STEP) * REGISTER_STEP
    if asked <= most:
        return asked, 0.0
    return max(most, 1), (words - most) * (_reduction_steps(main) if main else 1.0)


def _reduction_steps(main: Site) -> float:
    """Steps of a thread in each of which all of its sums are touched: rolled turns, and those that are written out."""
    steps = prod(turns(loop) for loop in main.rolled)
    return steps * prod(turns(p) for p in main.written_out if p.var in main.reduces and p not in main.together)


def _ahead(nest: Nest) -> float:
    """Registers that a thread's share of the tiles passes through on the way to shared memory."""
    return sum(
        site.copies(touch.needs) * ceil(touch.memory.width / 4)
        for site in nest.sites
        for touch in site.touches
        if touch.write and touch.memory.is_shared
    )


def _operands(site: Site, touch: Touch) -> float:
    """Values of *touch* that the straight code needs at once: those of one step of the reduction."""
    needed = [loop for loop in site.written_out if loop.var in touch.needs]
    return prod(turns(loop) for loop in needed if loop in site.together or loop.var not in site.reduces)


def _words(site: Site, touch: Touch) -> float:
    """Registers of a thread for one value of *touch*: lanes that work together share it out, packed."""
    return touch.memory.width / 4 / site.lanes if site.together else ceil(touch.memory.width / 4)


def _chains(nest: Nest) -> float:
    """Independent operations that one thread has in flight."""
    main = nest.main
    if main is None:
        return 1.0
    if not main.reduces:
        return max(1.0, prod(turns(loop) for loop in main.written_out))
    return max(1.0, max(main.copies(touch.places) for touch in main.touches if touch.write) / main.lanes)


def _other_instructions(kernel: _Kernel, in_memory: Sequence[tuple[Site, Touch]]) -> float:
    """Instructions of a thread that are no arithmetic: loads and stores, addresses, conditions, loops."""
    number = 0.0
    for site, touch in in_memory:
        often = site.repeated(touch.needs) * site.holds()
        moved = VECTOR_BYTES / touch.memory.width * site.lanes if site.together else vector_width(site, touch)
        number += often * (1.0 + site.copies(touch.needs) / moved)
    loops: dict[int, float] = {}
    for site in kernel.nest.sites:
        number += conversions(site)
        for loops_of, _ in site.guards:
            number += GUARD_INSTRUCTIONS * site.repeated(loops_of) * site.copies(loops_of)
        number += index_instructions(site, [touch.offset for known, touch in in_memory if known is site])
        number += COMBINE_INSTRUCTIONS * _tree_steps(site) * _combinations(site)
        trips = 1.0
        for loop in site.rolled:
            trips *= turns(loop)
            loops[id(loop)] = trips
    return number + LOOP_INSTRUCTIONS * sum(loops.values())


def _across(site: Site) -> list[For]:
    """The loops over threads that run over the site's reduction: their threads combine what each of them has."""
    return [loop for loop in site.loops if loop.kind.is_thread and loop.var in site.reduces]


def _tree_steps(site: Site) -> float:
    """Steps of the tree in which threads combine what each of them has of one element."""
    return float(sum(ceil(log2(turns(loop))) for loop in _across(site)))


def _combinations(site: Site) -> float:
    """How often a thread combines an element with others': for each output, in each turn around the threads."""
    outer = _around_threads(site)
    return float(prod(turns(loop) for loop in site.serial if loop.var not in site.reduces or loop in outer))


def _added_up(site: Site) -> float:
    """How often what threads have combined is added to a sum in memory: in each turn of the sum around the threads."""
    outer = [loop for loop in _around_threads(site) if loop.var in site.reduces]
    return float(prod(turns(loop) for loop in site.serial if loop in _around_threads(site))) if outer else 0.0


def _around_threads(site: Site) -> tuple[For, ...]:
    """The loops outside of those threads that combine."""
    across = _across(site)
    return site.loops[: site.loops.index(across[0])] if across else ()


def _rounds(kernel: _Kernel, loads: Sequence[tuple[Site, Touch]]) -> tuple[float, float]:
    """Rounds of loads that must follow one another, and the bytes that a thread asks for in one of them.

    Of the turns that share a sector all but the first find it in L1, as near as shared memory: a part of a round each.
    """
    chains: dict[tuple[For, ...], float] = {}
    near = kernel.spec.level("shared").latency_s / kernel.spec.dram.latency_s
    share: dict[int, float] = {}  # of its turns that a loop's count for
    for site, touch in loads:
        last = max((n for n, loop in enumerate(site.rolled) if loop.var in touch.needs), default=-1)
        chain = site.rolled[: last + 1]
        size = site.copies(touch.needs) * touch.memory.width * kernel.threads.at_work(site) / kernel.threads.count
        loop, shared_by = sector_turns(site, touch)
        if loop is not None:
            size *= shared_by
            share[id(loop)] = max(share.get(id(loop), 0.0), 1.0 / shared_by + (1.0 - 1.0 / shared_by) * near)
        elif chain:
            share[id(chain[-1])] = 1.0
        chains[chain] = chains.get(chain, 0.0) + size
    if not chains:
        return 1.0, 16.0
    most = max(chains, key=lambda chain: prod(turns(loop) for loop in chain))
    return max(1.0, _sequence(list(chains), share)), min(MOST_IN_FLIGHT, max(1.0, chains[most]))


def _sequence(chains: Sequence[tuple[For, ...]], share: Mapping[int, float]) -> float:
    """Rounds of several loads: those in one loop go together, those of different loops one after another."""
    groups: dict[int, list[tuple[For, ...]]] = {}
    for chain in chains:
        if chain:
            groups.setdefault(id(chain[0]), []).append(chain)
    inner = 0.0
    for group in groups.values():
        each = _sequence([chain[1:] for chain in group], share)
        inner += turns(group[0][0]) * each * share.get(id(group[0][0]), 1.0)
    return inner + float(any(not chain for chain in chains))


def _guarded(main: Site | None) -> float:
    """Operations that a thread does one by one, for each copy of the straight code tests its own condition."""
    if main is None or not main.reduces or main.lanes > 1:
        return 0.0
    tested = main.copies(frozenset[Var]().union(*(loops for loops, _ in main.guards)))
    return tested * prod(turns(loop) for loop in main.rolled) if tested > 1 else 0.0


def _barriers(nest: Nest, warp: int) -> float:
    """Two barriers each time that a tile in shared memory is filled: before it is read, and before the next one.

    One where a tile is filled ahead: both are at one place then.
    Threads of one warp combine what they have by shuffles, each about as long as a barrier; more of them do it through
    shared memory, the same way.
    """
    rounds: dict[tuple[Var, ...], float] = {}
    for site in nest.sites:
        for touch in site.touches:
            if touch.write and touch.memory.is_shared:
                serial = [loop for loop in touch.memory.around if loop in site.serial]
                waits = 2.0 if touch.memory.versions == 1 else 1.0
                rounds[tuple(loop.var for loop in serial)] = waits * prod(turns(loop) for loop in serial)
    trees = 0.0
    for site in nest.sites:
        apart = prod(turns(loop) for loop in _across(site)) > warp
        trees += (_tree_steps(site) + 2.0 * apart) * _combinations(site)
    return sum(rounds.values()) + trees
