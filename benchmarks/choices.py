"""Would a simulated device choose what the real one likes? Its choices held against measured ones.

    python benchmarks/choices.py --data DIR [--json]

DIR holds tables of measurements; three kinds are read, each where it is there:

- ``*_moe_topconfigs.csv``: of a fused mixture-of-experts product in Triton, for each shape the configurations within
  1 % of the measured best (0.5 % for the RTX PRO 6000). The model (``hw/operators/fused_moe.py``, one set of constants
  for all devices: ``fit_moe.py``) picks one of all that are listed for any shape of the device, for what was searched
  is not told. *tile* and *configuration* are the shares of shapes whose pick is listed, by rows, columns and depth, or
  with warps, stages and group too; *of 5*: one of the model's first five is; *near*: the
  model holds one that is listed for at most 5 % slower than its pick. *chance* is the share that is listed, and
  *one for all* the best single configuration for all shapes, seen in hindsight. *plateau*: the shapes half of whose
  searched space is within 5 % of the best (``*_moe_space_improvement.csv``). *twins*: where all rows fit in one group,
  configurations that differ in it alone are one program; how often one of them is listed where another is.
- ``neusight_*_linear_fp32.csv``, ``*_bmm_fp32.csv``: the tile of the kernel that cuBLAS ran. Told: how often the model
  of products chooses the same tile, or one no side of which is off by more than a factor of two; and how much slower
  than its choice it takes the tile that ran to be, in the median: what is near 0 is a tie that nobody could call.
- ``jaxdocs_tpuv5e_gemm.csv``: products on a TPU v5e in blocks that are given, and the model of scheduled nests.

Rank correlation is Spearman's, of the time predicted for the best listed configuration against the measured, over the
shapes of one device.
"""

from __future__ import annotations

import argparse
import csv
import functools
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from fit_moe import MoeTable

import flashsched as fs
from flashsched import te
from flashsched.errors import DeviceError
from flashsched.hw import DeviceSpec
from flashsched.hw.constants import constants_for
from flashsched.hw.operators import gemm
from flashsched.hw.operators.fused_moe import CONSTANTS, moe_seconds
from flashsched.hw.validation.names import spec_named
from flashsched.hw.validation.scores import score

MOST = 200  # rows of a file of tiles, evenly chosen


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
    found["blocks on TPU v5e"] = [row for path in given.data.glob("jaxdocs_tpuv5e_gemm.csv") for row in pallas(path)]
    if given.as_json:
        print(json.dumps(found, indent=1, default=float))
        return
    for name, rows in found.items():
        if rows:
            print(f"{name}\n{_table(rows)}\n")


# -- a mixture of experts in Triton ----------------------------------------------------------------------------------


def moe(path: Path) -> dict[str, object]:
    """How often the pick for a shape is among the configurations within 1 % of the best."""
    table = MoeTable.read(path)
    values = {name: one.default for name, one in CONSTANTS.items()}
    seconds = moe_seconds(table.spec, table.shapes, table.configs, values)
    listed, (listed_tiles, _) = table.listed, table.tiles
    tile, all_of_it = table.hits(seconds)
    first = np.take_along_axis(listed, seconds.argsort(axis=1)[:, :5], axis=1)
    best = np.nanargmin(table.measured, axis=1)[:, None]
    predicted, measured = (np.take_along_axis(times, best, axis=1)[:, 0] for times in (seconds, table.measured))
    ranks = score(predicted, measured)
    return {
        "device": table.spec.name.removesuffix("-sim"),
        "shapes": len(table.shapes),
        "tile": tile.mean(),
        "chance": listed_tiles.mean(),
        "configuration": all_of_it.mean(),
        "of 5": first.any(axis=1).mean(),
        "by chance": listed.mean(),
        "near": np.mean(np.where(listed, seconds, np.inf).min(axis=1) <= 1.05 * seconds.min(axis=1)),
        "one for all": listed.mean(axis=0).max(),
        "plateau": _plateau(path.parent, path.name, table),
        "twins": _twins(table),
        "error %": ranks.mape,
        "Spearman": ranks.spearman,
    }


def _plateau(data: Path, name: str, table: MoeTable) -> float:
    """The share of shapes half of whose searched space is within 5 % of the best."""
    gains = [
        float(row["best_vs_median_pct"]) / 100.0
        for file in data.glob("*_moe_space_improvement.csv")
        for row in csv.DictReader(file.open())
        if _spec(row["device"]).name == table.spec.name
    ]
    return float(np.mean([1.0 / (1.0 - gain) <= 1.05 for gain in gains])) if gains else math.nan


def _twins(table: MoeTable) -> float:
    """Of configurations that differ in the group alone where one group holds all rows, the share listed beside one."""
    listed = table.listed
    same = np.unique(np.delete(table.configs, 3, axis=1), axis=0, return_inverse=True)[1]
    others = others_listed = 0
    for shape, row in zip(table.shapes, listed, strict=True):
        one_group = table.configs[:, 3] >= shape[0] * shape[2]  # a row of a token at least in each block of rows
        for kind in np.unique(same[one_group & row]):
            twins = row[one_group & (same == kind)]
            others += int(twins.sum()) * (len(twins) - 1)
            others_listed += int(twins.sum()) * (int(twins.sum()) - 1)
    return others_listed / others if others else math.nan


# -- the tiles of a library ------------------------------------------------------------------------------------------


def tiles(path: Path) -> dict[str, object]:
    """How often the model of products chooses the tile of the kernel that ran, and what it says of that one."""
    rows = list(_with_tiles(path))
    rows = rows[:: max(1, len(rows) // MOST)]
    spec = _spec(rows[0]["device"])
    sizes = {name: np.array([int(row[name]) for row in rows]) for name in ("m", "n", "k", "batch")}
    try:
        values = constants_for(spec, "gemm.plain", gemm.CONSTANTS).values
        _, traits = gemm.explained(spec, values, "float32", sizes)
    except DeviceError:
        return {}
    menu = [name.removesuffix(" slower").split("x") for name in traits if "x" in name and name.endswith(" slower")]
    of_tile = {(int(m), int(n)): traits[f"{m}x{n} slower"] for m, n in menu}
    same = near = 0
    slower: list[float] = []
    for at, row in enumerate(rows):
        theirs = (int(row["kernel_tile_m"]), int(row["kernel_tile_n"]))
        ours = min(of_tile, key=lambda tile: of_tile[tile][at])
        same += sorted(ours) == sorted(theirs)
        near += all(0.5 <= a / b <= 2 for a, b in zip(sorted(ours), sorted(theirs), strict=True))
        known = [of_tile[tile][at] for tile in (theirs, theirs[::-1]) if tile in of_tile]
        slower += [2.0 ** min(known) - 1.0] if known else []
    return {
        "file": path.stem, "rows": len(rows), "same tile": same / len(rows), "within a factor of 2": near / len(rows),
        "in the menu": len(slower) / len(rows), "theirs slower by": float(np.median(slower)) if slower else math.nan,
    }  # fmt: skip


def _with_tiles(path: Path) -> Iterator[Mapping[str, str]]:
    for row in csv.DictReader(path.open()):
        if row.get("kernel_tile_m") and row.get("k"):
            yield row


def _has_tiles(path: Path) -> bool:
    return next(_with_tiles(path), None) is not None


# -- blocks on a TPU ---------------------------------------------------------------------------------------------------


def pallas(path: Path) -> Iterator[dict[str, object]]:
    """Products in blocks of m, n and k: what a scheduled nest of these blocks is predicted to take."""
    for row in csv.DictReader(path.open()):
        words = row["schedule"].split()
        if words[0] == "pallas":
            blocks = {word[:2]: int(word[2:]) for word in words[1:4]}
            size, measured = int(row["m"]), float(row["measured_us"])
            said = fs.simulate(_in_blocks(size, blocks), device="tpu-v5e-sim").time_s * 1e6
            yield {"product": f"{size}^3", "blocks": " ".join(words[1:]), "us": measured, "model us": said,
                   "off %": (said / measured - 1.0) * 100.0}  # fmt: skip


def _in_blocks(size: int, blocks: Mapping[str, int]) -> fs.Schedule:
    A, B = (te.placeholder((size, size), "bfloat16", name=name) for name in "AB")
    k = te.reduce_axis((0, size), name="k")
    C = te.compute(
        (size, size), lambda i, j: te.sum(A[i, k].astype("float32") * B[k, j].astype("float32"), axis=k), name="C"
    )
    s = te.create_schedule(C)
    sums = s[s.cache_write(C, "shared")]
    tiles = [s[s.cache_read(operand, "shared", [sums.name])] for operand in (A, B)]
    _, jo, _, _ = s[C].tile(*s[C].op.axis, blocks["bm"], blocks["bn"])
    sums.compute_at(s[C], jo)
    ko, ki = sums.split(sums.op.reduce_axis[0], factor=blocks["bk"])
    sums.reorder(ko, *sums.op.axis, ki)
    for tile in tiles:
        tile.compute_at(sums, ko)
        tile.double_buffer()
    return s


@functools.cache
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
