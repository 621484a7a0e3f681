"""The constants of ``hw/operators/fused_moe.py`` fitted to tables of configurations, each device left out in turn.

    python benchmarks/fit_moe.py --data DIR [--rounds 14]

The tables (`MoeTable`) list for each shape the configurations within 1 % of the measured best, and say nothing of the
others. So a fit makes the listed ones likely: with ``p(c) ~ exp(-log t(c) / 2 %)`` over all configurations of a shape,
it minimises the mean of ``-log sum p(listed)``, and beside it, lightly, the error of the times. Every second
combination of experts and sizes is fitted to; printed is how often the pick is listed, on those and on the others, for
the constants of all devices and for those of all but one. ``choices.py`` scores what is shipped.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares
from scipy.special import logsumexp

from flashsched.hw import DeviceSpec
from flashsched.hw.operators.fused_moe import CONSTANTS, moe_seconds
from flashsched.hw.validation.names import spec_named

Floats = NDArray[np.float64]

SHAPE = ("m_tokens", "experts", "topk", "hidden", "inter")
CONFIG = ("block_m", "block_n", "block_k", "group_m", "num_warps", "num_stages")
START = {
    "arithmetic": 0.95, "dram": 1.0, "l2": 1.0, "store": 15.0, "start_us": 1.0, "overlap": 4.0, "overlap_memory": 4.0,
    "kept": 1.0, "edge": 16.0, "round": 3.0, "shared": 1.0, "fill": 0.1, "between_us": 1.0, "late": 0.05, "drain": 1.0,
}  # fmt: skip
"""Where a fit begins: round numbers, so that no constant has seen the device that is left out."""

SHARPNESS = 0.02  # by which times differ that the fit tells apart
ERROR = 0.33  # of times, that weighs as much as a unit of likelihood


@dataclass(frozen=True)
class MoeTable:
    """``*_moe_topconfigs.csv`` of one device: shapes down, configurations across.

    Which configurations were searched is not told; taken are those that are listed for any shape of the device.
    ``measured`` has seconds, NaN where one is not listed. ``fitted`` are the shapes that a fit sees.
    """

    spec: DeviceSpec
    shapes: Floats
    configs: Floats
    measured: Floats
    fitted: NDArray[np.bool_]

    @classmethod
    def read(cls, path: Path) -> MoeTable:
        rows = list(csv.DictReader(path.open()))
        spec, why = spec_named(rows[0]["device"])
        if spec is None:
            raise SystemExit(f"{rows[0]['device']}: {why}")
        of_shape = [tuple(int(row[name]) for name in SHAPE) for row in rows]
        of_config = [tuple(int(row[name]) for name in CONFIG) for row in rows]
        shapes, configs = list(dict.fromkeys(of_shape)), sorted(set(of_config))
        measured = np.full((len(shapes), len(configs)), np.nan)
        where_shape, where_config = ({one: n for n, one in enumerate(ones)} for ones in (shapes, configs))
        for row, shape, config in zip(rows, of_shape, of_config, strict=True):
            measured[where_shape[shape], where_config[config]] = float(row["measured_us"]) * 1e-6
        models = sorted({shape[1:] for shape in shapes})
        fitted = np.array([models.index(shape[1:]) % 2 == 0 for shape in shapes])
        return cls(spec, np.array(shapes, dtype=float), np.array(configs, dtype=float), measured, fitted)

    @property
    def listed(self) -> NDArray[np.bool_]:
        return ~np.isnan(self.measured)

    @property
    def tiles(self) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """Whether each tile is listed for a shape, with any warps, stages and group; and each configuration's tile."""
        tiles, of_config = np.unique(self.configs[:, :3], axis=0, return_inverse=True)
        listed = [self.listed[:, of_config == tile].any(axis=1) for tile in range(len(tiles))]
        return np.stack(listed, axis=1), of_config

    def hits(self, seconds: Floats) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """By shape, whether the tile of the pick is listed, and whether all of it is."""
        pick, rows = seconds.argmin(axis=1), np.arange(len(seconds))
        listed, of_config = self.tiles
        return listed[rows, of_config[pick]], self.listed[rows, pick]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=14)
    given = parser.parse_args()
    tables = [MoeTable.read(path) for path in sorted(given.data.glob("*_moe_topconfigs.csv"))]
    for left_out in (None, *tables):
        seen = [table for table in tables if table is not left_out]
        values = fitted(seen, given.rounds)
        print(f"without {left_out.spec.name}" if left_out else "all devices")
        print("  " + ", ".join(f"{name} {values[name]:.3g}" for name in START))
        for table in tables if left_out is None else [left_out]:
            tile, all_of_it = table.hits(moe_seconds(table.spec, table.shapes, table.configs, values))
            told = [f"{part[at].mean():.2f}" for at in (table.fitted, ~table.fitted) for part in (tile, all_of_it)]
            print(f"  {table.spec.name}: tile {told[0]}, configuration {told[1]}; other shapes {told[2]}, {told[3]}")


def fitted(tables: Sequence[MoeTable], rounds: int) -> dict[str, float]:
    """The constants, those of `START` moved to where the listed configurations are likely."""
    known = {name: one.default for name, one in CONSTANTS.items()}
    low, high = (np.log([getattr(CONSTANTS[name], end) for name in START]) for end in ("low", "high"))
    begin = np.clip(np.log(list(START.values())), low + 1e-6, high - 1e-6)

    def misses(point: Floats) -> Floats:
        values = {**known, **dict(zip(START, np.exp(point), strict=True))}
        found = [0.05 * (point - begin)]
        for table in tables:
            listed, at = table.listed[table.fitted], table.measured[table.fitted]
            seconds = moe_seconds(table.spec, table.shapes[table.fitted], table.configs, values)
            logs = np.log(np.minimum(seconds, 1e3 * np.nanmin(at, axis=1, keepdims=True)))
            of_listed = logsumexp(np.where(listed, -logs / SHARPNESS, -np.inf), axis=1)
            unlikely = logsumexp(-logs / SHARPNESS, axis=1) - of_listed
            found += [np.sqrt(2.0 * np.maximum(unlikely, 0.0)), np.nanmean(logs - np.log(at), axis=1) / ERROR]
        return np.concatenate(found)

    found = least_squares(misses, begin, bounds=(low, high), max_nfev=rounds, diff_step=5e-3, x_scale=0.3)
    return {**known, **dict(zip(START, np.exp(found.x).tolist(), strict=True))}


if __name__ == "__main__":
    main()
