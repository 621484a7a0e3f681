"""Benchmark results as text and as JSON: times, rates, ratios, and the share of what the machine can do."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

from flashsched.bench.rounds import CaseResult
from flashsched.hw import Measured

__all__ = ["limit_s", "summary", "to_json", "to_text"]


def limit_s(result: CaseResult, machine: Measured, threads: int) -> float:
    """Seconds that the machine needs at least: its measured FMA peak or memory bandwidth, whichever binds."""
    dtype = result.case.dtype if result.case.dtype in machine.fma_flops else "float32"
    several = threads > 1
    peak = (machine.fma_flops_all if several else machine.fma_flops)[dtype]
    bandwidth = (machine.bandwidth_all if several else machine.bandwidth).get("dram", math.inf)
    fits_in_cache = result.bytes < 2**24  # small arrays stay in the caches between calls
    return max(result.flops / peak, 0.0 if fits_in_cache else result.bytes / bandwidth)


def to_text(results: Sequence[CaseResult], machine: Measured, threads: int) -> str:
    """A table: one line a case; GFLOP/s (or GB/s) for each peer, our ratio to it, and our share of the limit."""
    peers = list(dict.fromkeys(peer for result in results for peer in (*result.seconds, *result.notes)))
    others = [peer for peer in peers if peer != "flashsched"]
    head = ["case", "unit", "flashsched", "of limit", *(f"{peer} (ratio)" for peer in others)]
    rows = [head]
    for result in results:
        moves = result.flops < 2 * result.bytes
        work, unit = (result.bytes, "GB/s") if moves else (result.flops, "GFLOP/s")
        row = [result.case.name, unit]
        if "flashsched" in result.seconds:
            ours = result.median("flashsched")
            row += [f"{work / ours / 1e9:.1f}", f"{100 * limit_s(result, machine, threads) / ours:.0f}%"]
        else:
            row += [result.notes.get("flashsched", "-"), ""]
        for peer in others:
            if peer in result.seconds and "flashsched" in result.seconds:
                row.append(f"{work / result.median(peer) / 1e9:.1f} ({result.ratio(peer):.2f}x)")
            else:
                row.append("-")
        rows.append(row)
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join([*lines, "", *summary(results, others)])


def summary(results: Sequence[CaseResult], others: Sequence[str]) -> list[str]:
    """The geometric mean of our ratio to each peer, and to the best peer of each case."""
    lines = []
    for peer in others:
        ratios = [r.ratio(peer) for r in results if peer in r.seconds and "flashsched" in r.seconds]
        if ratios:
            lines.append(f"vs {peer}: {statistics.geometric_mean(ratios):.2f}x over {len(ratios)} cases")
    best = [
        min(r.ratio(peer) for peer in others if peer in r.seconds)
        for r in results
        if "flashsched" in r.seconds and any(peer in r.seconds for peer in others)
    ]
    if best and len(others) > 1:
        lines.append(f"vs the best peer of each case: {statistics.geometric_mean(best):.2f}x, lowest {min(best):.2f}x")
    return lines


def to_json(results: Sequence[CaseResult], machine: Measured, threads: int) -> dict[str, Any]:
    """Everything as JSON values."""
    return {
        "threads": threads,
        "machine": {
            "fma_flops": machine.fma_flops_all if threads > 1 else machine.fma_flops,
            "bandwidth": machine.bandwidth_all if threads > 1 else machine.bandwidth,
            "cores": machine.cores,
        },
        "cases": [
            {
                **result.case.to_json(),
                "flops": result.flops,
                "bytes": result.bytes,
                "limit_s": limit_s(result, machine, threads),
                "median_s": {peer: result.median(peer) for peer in result.seconds},
                "seconds": result.seconds,
                "ratio": {
                    peer: result.ratio(peer)
                    for peer in result.seconds
                    if peer != "flashsched" and "flashsched" in result.seconds
                },
                "notes": result.notes,
            }
            for result in results
        ],
    }
