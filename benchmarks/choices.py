"""Would a simulated device choose what the real one likes? Its choices held against measured ones.

    python benchmarks/choices.py --data DIR [--json]

DIR holds tables of measurements; two kinds are read, each where it is there:

- ``*_moe_topconfigs.csv``: of a fused mixture-of-experts product in Triton, for each shape the configurations within
  1 % of the measured best. The model picks one of all configurations of the searched space; a hit is a pick whose tile
  (rows, columns, depth) is listed, a strict hit one whose warps and stages are listed with it. Beside them stand
  chance, the share of the space that is listed, and hits of each side of the tile. *listed are worse* is the median,
  over shapes, of what the model says that the best listed tile takes over its pick: near 0, the model sees a plateau
  and its pick is one of many. What lies between 1 and 5 % of the best is not in the tables and not told.
- ``neusight_*_linear_fp32.csv``, ``*_bmm_fp32.csv``: the tile of the kernel that cuBLAS ran. Told: how often the model
  of products chooses the same tile, or one no side of which is off by more than a factor of two.
Rank correlation is Spearman's, of the time predicted for the best listed configuration against the measured, over the
shapes of one device. How experts fill is not in the tables: tokens are taken to choose theirs at random.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from flashsched.errors import DeviceError
from flashsched.hw import DeviceSpec
from flashsched.hw.constants import constants_for
from flashsched.hw.gpu import gpu_times
from flashsched.hw.operators import gemm
from flashsched.hw.validation.names import spec_named
from flashsched.hw.validation.scores import score
from flashsched.hw.works import Works

ROWS, COLUMNS, DEPTHS = (16, 32, 64, 128, 256), (16, 32, 64, 128, 256), (32, 64, 128, 256)
WARPS, STAGES = (4, 8), (2, 3, 4, 5)
CONFIGS = np.array(list(itertools.product(ROWS, COLUMNS, DEPTHS, WARPS, STAGES)), dtype=float)
BYTES = 2  # of an element, bfloat16
MOST = 200  # rows of a file of tiles, evenly chosen
EDGE = 16.0  # bytes that a load of a row's piece moves beyond it in the mean: half a sector of 32
ROUND = 10.0  # barriers that a round of Triton's loop is worth: waits, masks, pointers; estimated, some 300 cycles


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--json", action="store_true", dest="as_json")
    given = parser.parse_args()
    found = {
        "moe": [moe(path) for path in sorted(given.data.glob("*_moe_topconfigs.csv"))],
        "tiles": [tiles(path) for path in sorted(given.data.glob("neusight_*_fp32.csv")) if _has_tiles(path)],
    }
    found["tiles"] = [row for row in found["tiles"] if row]
    if given.as_json:
        print(json.dumps(found, indent=1))
        return
    for name, rows in found.items():
        if rows:
            print(f"{name}\n{_table(rows)}\n")


# -- a mixture of experts in Triton ----------------------------------------------------------------------------------


def moe(path: Path) -> dict[str, object]:
    """How often the pick for a shape is among the configurations within 1 % of the best."""
    shapes: dict[tuple[int, ...], list[dict[str, str]]] = defaultdict(list)
    for row in csv.DictReader(path.open()):
        shapes[tuple(int(row[name]) for name in ("m_tokens", "experts", "topk", "hidden", "inter"))].append(row)
    spec = _spec(next(iter(shapes.values()))[0]["device"])
    hits, strict, chance, predicted, measured, lost = 0, 0, [], [], [], []
    sides = dict.fromkeys(("rows", "columns", "depth"), 0)
    for shape, rows in shapes.items():
        seconds = moe_seconds(spec, *shape)
        pick = CONFIGS[int(seconds.argmin())].astype(int)
        names = ("block_m", "block_n", "block_k", "num_warps", "num_stages")
        listed = {tuple(int(row[name]) for name in names) for row in rows}
        listed_tiles = {config[:3] for config in listed}
        hits += tuple(pick[:3]) in listed_tiles
        strict += tuple(pick) in listed
        for at, name in enumerate(("rows", "columns", "depth")):
            sides[name] += int(pick[at]) in {tile[at] for tile in listed_tiles}
        fits = {tuple(config[:3]) for config, time in zip(CONFIGS.astype(int), seconds, strict=True) if time < math.inf}
        chance.append(len(listed_tiles) / len(fits))
        theirs = [n for n, config in enumerate(CONFIGS.astype(int)) if tuple(config[:3]) in listed_tiles]
        predicted.append(float(seconds[theirs].min()))
        lost.append(predicted[-1] / float(seconds.min()) - 1)
        measured.append(min(float(row["measured_us"]) for row in rows) * 1e-6)
    ranks = score(np.array(predicted), np.array(measured))
    return {
        "device": spec.name,
        "shapes": len(shapes),
        "tile within 1 %": hits / len(shapes),
        "and warps, stages": strict / len(shapes),
        "chance": float(np.mean(chance)),
        **{name: count / len(shapes) for name, count in sides.items()},
        "listed are worse, says the model": float(np.median(lost)),
        "mean error %": ranks.mape,
        "Spearman over shapes": ranks.spearman,
    }


def moe_seconds(spec: DeviceSpec, tokens: int, experts: int, topk: int, hidden: int, inter: int) -> np.ndarray:
    """Seconds of each of `CONFIGS`: tokens x hidden times hidden x (2 inter), rows sorted by expert."""
    rows, columns, depth, warps, stages = CONFIGS.T
    width = 2.0 * inter
    filled, blocks_of_rows, full = _experts(tokens, experts, topk)
    blocks = blocks_of_rows * np.ceil(width / columns)
    steps = np.ceil(hidden / depth)
    threads = 32.0 * warps
    values = constants_for(spec, "gemm.tensor", gemm.CONSTANTS).values
    lines = np.minimum(rows, np.maximum(full, 1.0))
    read = blocks * (lines + np.minimum(columns, width)) * hidden * BYTES
    cold = (filled * width * hidden + tokens * hidden) * BYTES
    again = np.maximum(read / np.sqrt(np.maximum(np.minimum(blocks, spec.units), 1.0)) - cold, 0.0)
    missed = np.clip(1.0 - spec.level("l2").size_bytes * values["kept"] / cold, 0.0, 1.0)
    sums = rows * columns / threads
    works = Works(
        flops={"bfloat16": 2.0 * blocks * rows * columns * steps * depth},
        useful_flops={"bfloat16": 2.0 * tokens * topk * width * hidden},
        dram_read_bytes=0.0,
        dram_write_bytes=0.0,
        dram_bytes=(cold + again * missed) * (1.0 + EDGE / (depth * BYTES)),
        coalescing=depth * BYTES / (depth * BYTES + EDGE),
        blocks=blocks,
        threads_per_block=threads,
        barriers=steps * ROUND,
        l2_read_bytes=read,
        l2_write_bytes=blocks * lines * columns * BYTES,
        global_lane_bytes=0.0,
        shared_bytes_per_block=(rows + columns) * depth * BYTES * (stages - 1.0),
        steps=steps,
        stages=stages,
        registers_per_thread=sums + 48.0,
        bytes_in_flight=(lines + columns) * depth * BYTES / threads,
        accumulators=np.maximum(sums / 4.0, 1.0),
    )
    seconds = np.broadcast_to(gpu_times(spec, works, values).seconds, rows.shape)
    return np.where(sums + 48.0 > 255.0, math.inf, seconds)


def _experts(tokens: int, experts: int, topk: int) -> tuple[float, np.ndarray, float]:
    """Experts that get a token, blocks of rows over all of them by tile, and the rows of one that gets any."""
    share = topk / experts
    counts = np.arange(tokens + 1)
    logs = np.cumsum(np.log(np.maximum(np.arange(1, tokens + 1), 1)))
    factorial = np.concatenate([[0.0], logs])
    if share >= 1.0:
        chance = (counts == tokens).astype(float)
    else:
        log_chance = factorial[-1] - factorial - factorial[::-1] + counts * math.log(share)
        chance = np.exp(log_chance + (tokens - counts) * math.log1p(-share))
    filled = experts * (1.0 - float(chance[0]))
    by_tile = {size: experts * float((chance * np.ceil(counts / size)).sum()) for size in ROWS}
    return filled, np.array([by_tile[int(size)] for size in CONFIGS[:, 0]]), tokens * topk / max(filled, 1e-9)


# -- the tiles of a library ------------------------------------------------------------------------------------------


def tiles(path: Path) -> dict[str, object]:
    """How often the model of products chooses the tile of the kernel that ran."""
    same = near = count = 0
    spec = None
    rows_of_file = list(_with_tiles(path))
    for row in rows_of_file[:: max(1, len(rows_of_file) // MOST)]:
        spec = spec or _spec(row["device"])
        try:
            values = constants_for(spec, "gemm.plain", gemm.CONSTANTS).values
            sizes = (int(row[name]) for name in ("m", "n", "k", "batch"))
            rows, columns = gemm.chosen(spec, values, "float32", *sizes).tile
        except DeviceError:
            return {}
        theirs = sorted((int(row["kernel_tile_m"]), int(row["kernel_tile_n"])))
        ours = sorted((rows, columns))
        same += ours == theirs
        near += all(0.5 <= a / b <= 2 for a, b in zip(ours, theirs, strict=True))
        count += 1
    return {"file": path.stem, "rows": count, "same tile": same / count, "within a factor of 2": near / count}


def _with_tiles(path: Path) -> Iterator[Mapping[str, str]]:
    for row in csv.DictReader(path.open()):
        if row.get("kernel_tile_m") and row.get("k"):
            yield row


def _has_tiles(path: Path) -> bool:
    return next(_with_tiles(path), None) is not None


def _spec(name: str) -> DeviceSpec:
    spec, why = spec_named(name)
    if spec is None:
        raise SystemExit(f"{name}: {why}")
    return spec


def _table(rows: list[dict[str, object]]) -> str:
    shown = [list(rows[0]), *([_cell(value) for value in row.values()] for row in rows)]
    widths = [max(len(line[at]) for line in shown) for at in range(len(shown[0]))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in shown)


def _cell(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
