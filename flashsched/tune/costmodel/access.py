"""What the cost model sees of a nest beside its `Work`: how loops stand, how memory is walked, what code it becomes.

A device model needs totals; what they leave out is what it gets wrong, so the learned model is shown it: strides of the
innermost loop, forks inside loops, how long the straight code is, what lies in temporaries, registers against the
file.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from flashsched.codegen.analysis.reading import Nest, Site, turns
from flashsched.hw import DeviceSpec, Work
from flashsched.schedule.ir import For, LoopKind

__all__ = ["NEST_FEATURES", "nest_features"]

NEST_FEATURES = (
    "contiguous", "broadcast", "strided", "stride", "stores", "inner_turns", "straight", "depth", "sites", "forks",
    "parallel_at", "vector_turns", "temporaries", "temporary_share", "in_place", "guarded", "pressure", "code",
    "reduce_turns", "reduce_inside", "main_share", "rolled_turns",
    "streamed", "strided_loads", "strided_stores", "alias", "unaligned", "masked", "vectors", "loops_per_point",
    "loads_per_vector", "chain", "parallel_turns", "parallel_waste",
)  # fmt: skip
"""The names of these features, in their order; counts and sizes are logarithms to base 2."""


def nest_features(nests: Sequence[Nest], works: Sequence[Work], spec: DeviceSpec) -> dict[str, float]:
    """These features of a kernel of *nests*; those of one site are the site's with most arithmetic."""
    found = dict.fromkeys(NEST_FEATURES, 0.0)
    sites = [site for nest in nests for site in nest.sites]
    if not sites:
        return found
    found |= _walks(sites)
    weights = [max(1.0, site.work.total) * site.turns for site in sites]
    at = max(range(len(sites)), key=lambda n: weights[n])
    main = sites[at]
    inner = main.rolled[-1:] if main.rolled else main.loops[-1:]
    reduces = [loop for loop in main.loops if loop.var in main.reduces]
    found["main_share"] = weights[at] / sum(weights)
    found["inner_turns"] = _log(math.prod(turns(loop) for loop in inner))
    found["rolled_turns"] = _log(math.prod(float(turns(loop)) for loop in main.rolled))
    found["straight"] = _log(math.prod(turns(loop) for loop in main.written_out))
    found["depth"] = float(len(main.loops))
    found["vector_turns"] = _log(turns(main.vector)) if main.vector is not None else 0.0
    found["reduce_turns"] = _log(math.prod(float(turns(loop)) for loop in reduces))
    found["reduce_inside"] = float(bool(reduces) and bool(main.rolled) and main.rolled[-1].var in main.reduces)
    found["guarded"] = sum(_log(1 / max(part, 1e-6)) + 1 for site in sites for _, part in site.guards)
    found["sites"] = _log(len(sites))
    found["code"] = _log(sum(len(site.touches) * math.prod(turns(loop) for loop in site.written_out) for site in sites))
    found["forks"], found["parallel_at"] = _forks(sites, main)
    own = [memory for nest in nests for memory in nest.memories if not memory.given]
    given = sum(memory.size for nest in nests for memory in nest.memories if memory.given)
    found["temporaries"] = _log(sum(memory.size for memory in own))
    found["temporary_share"] = _log(sum(memory.size for memory in own) / max(1, given))
    found["in_place"] = float(any(touch.write and touch.memory.given for touch in main.touches))
    found |= _of_lanes(sites, main, spec)
    found |= _dealt_out(main, spec)
    found["loops_per_point"] = math.log2(1e-6 + _loop_ends(main) / max(1.0, main.turns))
    found["chain"] = _log(_chain(main))
    registers = spec.cpu.vector_registers if spec.cpu is not None else 255
    found["pressure"] = max((work.registers_per_thread / registers for work in works), default=0.0)
    return found


def _walks(sites: Sequence[Site]) -> dict[str, float]:
    """Shares of all accesses that go on, stay, or jump along the innermost loop; the longest jump; and the power of two
    that divides a jump, at which lines of a cache fall into each other's place."""
    kinds = {"contiguous": 0.0, "broadcast": 0.0, "strided": 0.0}
    strided_stores = alias = 0.0
    total = stores = streamed = 0.0
    stride = 0.0
    for site in sites:
        inner = site.loops[-1].var if site.loops else None
        past_caches = any(loop.notes.get("nontemporal") for loop in site.loops)
        for touch in site.touches:
            step = touch.offset.step(inner) if inner is not None else 0
            weight = site.turns
            total += weight
            stores += weight * touch.write
            streamed += weight * (touch.write and past_caches)
            kind = "strided" if step is None or abs(step) > 1 else "contiguous" if step else "broadcast"
            kinds[kind] += weight
            if kind == "strided":
                jump = abs(step or 0) * touch.memory.width
                stride = max(stride, float(jump))
                alias = max(alias, math.log2(jump & -jump) if jump else 0.0)
                strided_stores += weight * touch.write
    shares = {kind: weight / total if total else 0.0 for kind, weight in kinds.items()}
    return {
        **shares,
        "stride": _log(stride),
        "stores": stores / max(total, 1.0),
        "streamed": streamed / max(stores, 1.0),
        "strided_stores": strided_stores / max(total, 1.0),
        "strided_loads": shares["strided"] - strided_stores / max(total, 1.0),
        "alias": alias,
    }


_LINE = 64  # bytes


def _of_lanes(sites: Sequence[Site], main: Site, spec: DeviceSpec) -> dict[str, float]:
    """How vector instructions fit: rows that do not begin at a line, lanes that are cut off, vectors in a row of the
    straight code, and loads and stores for each vector of arithmetic."""
    width_bits = spec.cpu.vector_bits if spec.cpu is not None else 128
    total = runs = unaligned = masked = 0.0
    for site in sites:
        inner = site.loops[-1].var if site.loops else None
        bits = max((touch.memory.width * 8 for touch in site.touches), default=32)
        cut = site.vector is not None and turns(site.vector) % max(1, width_bits // bits) != 0
        for touch in site.touches:
            total += site.turns
            masked += site.turns * cut
            if inner is None or abs(touch.offset.step(inner) or 0) != 1:
                continue
            runs += site.turns
            others = (loop.var for loop in site.loops[:-1] if loop.var in touch.offset.vars)
            steps = (abs(touch.offset.step(var) or 1) * touch.memory.width for var in others)
            unaligned += site.turns * any(step % _LINE for step in steps)
    found = {"unaligned": unaligned / max(runs, 1.0), "masked": masked / max(total, 1.0)}
    lanes = float(turns(main.vector)) if main.vector is not None else 1.0
    width = max((touch.memory.width * 8 for touch in main.touches), default=32)
    found["vectors"] = _log(lanes * width / width_bits) if main.vector is not None else 0.0
    loads = 0.0
    for touch in main.touches:
        copies = [loop for loop in main.written_out if loop.var in touch.needs and loop is not main.vector]
        loads += main.repeated(touch.needs) * math.prod(turns(loop) for loop in copies)
    found["loads_per_vector"] = math.log2(1e-3 + loads * lanes / max(1.0, main.turns))
    return found


def _dealt_out(main: Site, spec: DeviceSpec) -> dict[str, float]:
    """How many parts the cores are given, and how much longer the busiest works than all would in even parts."""
    loop = next((loop for loop in main.loops if loop.kind is LoopKind.PARALLEL), None)
    if loop is None:
        return {"parallel_turns": 0.0, "parallel_waste": math.log2(max(1, spec.units))}
    parts = turns(loop)
    return {
        "parallel_turns": _log(parts),
        "parallel_waste": math.log2(math.ceil(parts / spec.units) * spec.units / parts),
    }


def _loop_ends(site: Site) -> float:
    """Turns of all rolled loops together: each costs a count, a comparison and a branch."""
    trips, found = 1.0, 0.0
    for loop in site.rolled:
        trips *= turns(loop)
        found += trips
    return found


def _chain(site: Site) -> float:
    """Operations on one element, one after another, before the next element's turn."""
    length = 1.0
    for loop in reversed(site.loops):
        if loop.var not in site.reduces:
            break
        length *= turns(loop)
    return length


def _forks(sites: Sequence[Site], main: Site) -> tuple[float, float]:
    """How often threads are called together, a loop around a parallel one doing it each turn; and where it stands."""
    forks: dict[int, float] = {}
    for site in sites:
        trips = 1.0
        for loop in site.loops:
            if loop.kind is LoopKind.PARALLEL:
                forks[id(loop)] = trips
                break
            trips *= turns(loop)
    return _log(sum(forks.values())), float(_parallel_at(main.loops))


def _parallel_at(loops: Sequence[For]) -> int:
    """How many loops stand outside of the parallel one; -1 where there is none."""
    return next((n for n, loop in enumerate(loops) if loop.kind is LoopKind.PARALLEL), -1)


def _log(value: float) -> float:
    return math.log2(1.0 + max(0.0, float(value)))
