"""Write ``docs/reference/validation.md``: the device models held against a folder of measurements.

python benchmarks/validation_page.py MEASUREMENTS
"""

from __future__ import annotations

import sys
from pathlib import Path

from flashsched.hw import devices
from flashsched.hw.constants import Section, family_of, fitted_in
from flashsched.hw.validation import Validation
from flashsched.hw.validation.ranking import Ranked, ranked
from flashsched.hw.validation.rows import read_rows
from flashsched.hw.validation.run import collect
from flashsched.hw.validation.scores import Score

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reference" / "validation.md"

HEAD = """# The models against measurements

Made by `python benchmarks/validation_page.py MEASUREMENTS`, whose figures are those of `flashsched validate`.
[How far to trust it](../guide/trust.md) says what the tiers mean and how rows are held out.

Errors are in percent of the measured time, mean over the rows (MAPE). Calibrated: five folds, each row predicted by
constants (and a residual) that did not see it. Family: constants fitted to other devices of the architecture. Specs: to
other architectures alone. The roofline is no model: peak arithmetic and bandwidth, and nothing else.

[A note of their own](../design/0015-gpu-products.md) has more on matrix products.
"""

PRODUCTS = """
## Matrix products

Tensor: on matrix units; bytes: of one-byte elements on them (float8, int8); plain: float32 and float64 on lanes.
Family: by constants of the other devices of the architecture. Specs: of the device's whole family, by other families'.
Calibrated: five folds by (n, k), all tables of a device and kind together.

"""

SEVEN = {
    "A100-SXM4-80GB": ("gemm", "bf16"), "H100-SXM-80GB": ("gemm", "bf16"), "B200-SXM": ("gemm", "bf16"),
    "V100-PCIE-32GB": ("linear_bias", "fp32"), "T4": ("linear_bias", "fp32"), "MI210": ("linear_bias", "fp32"),
    "TPU-v4": ("gemm", "fp16_in_jax"),
}  # fmt: skip
"""Tables of products on devices of several sorts, and the operation and dtype of each."""

RANKING = """
## Which device is faster

Sizes that one source timed on several devices: of the pairs of devices that differ by more than 10 % there, how many
each tier's predictions order as they were measured, in percent.

"""

SOURCES = """
## Sources

Published measurements, by the short names that the tables bear: sitar-lab/NeuSight (MIT), ai-dynamo/aiconfigurator
(Apache-2.0), microsoft/vidur (MIT), baidu-research/DeepBench (Apache-2.0), PrincetonUniversity/LLMCompass
(BSD-3-Clause), zksainx/pipeweave (Apache-2.0), ROCm/aiter (MIT), te42kyfo/gpu-benches, TristanBilot/mlx-benchmark (MIT)
and others. The rows themselves are not part of this package.
"""


def page(outcome: Validation) -> str:
    """The whole page."""
    parts = [HEAD, "\n## By operation\n\n", _table(outcome.overall(), ("operation",)), PRODUCTS, products()]
    parts += [_seven(outcome), RANKING, _ranking(ranked(outcome))]
    parts += ["\n## By device\n\n", _table(outcome.scores(), ("device", "operation", "dtype"))]
    reasons = [f"- {line}" for line in outcome.notes.lines if "left out" in line][:12]
    parts += ["\n## Left out\n\nThe most frequent reasons:\n\n", "\n".join(reasons), "\n", SOURCES]
    return "".join(parts)


def products() -> str:
    """The errors of products that stand with the constants."""
    lines = ["| device | kind | rows | calibrated | family | specs |", "|---|---|--:|--:|--:|--:|"]
    for name in sorted({devices[each].name for each in devices}):
        family = family_of(devices[name])
        for section, of_family in sorted(fitted_in(family).items()):
            own, sisters = of_family.devices.get(name), of_family.without.get(name)
            counted = own or sisters
            general = fitted_in("defaults").get(section, Section()).without.get(family)
            if sisters is not None and sisters.tier == "specs":  # none of them tells more than the model's defaults
                sisters, general = None, general or sisters
            if section.startswith("gemm.") and counted is not None:
                errors = (own, sisters, general)
                cells = ["–" if one is None or one.error_pct is None else f"{one.error_pct:.1f}" for one in errors]
                kind = section.removeprefix("gemm.")
                lines.append(f"| {name} | {kind} | {counted.rows:,} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _seven(outcome: Validation) -> str:
    """The calibrated tier on the tables of `SEVEN`, and their mean."""
    found = {
        each.device: each.score.mape
        for each in outcome.scores()
        if each.tier == "calibrated" and SEVEN.get(each.device) == (each.op, each.dtype)
    }
    told = ", ".join(f"{device} {found[device]:.1f}" for device in SEVEN if device in found)
    return f"\nThe mean of seven tables is {sum(found.values()) / max(len(found), 1):.2f}: {told}.\n" if found else ""


def _ranking(found: list[Ranked]) -> str:
    """Each operation's row, and one for all pairs together."""
    tiers = ("calibrated", "family", "specs", "roofline")
    rows = {(each.operation, each.tier): each for each in found if each.operation != "all"}
    for tier in tiers:
        of_tier = [each for (_, name), each in rows.items() if name == tier]
        pairs = sum(each.pairs for each in of_tier)
        right = sum(each.pairs * each.right_pct for each in of_tier) / max(pairs, 1)
        rows["all", tier] = Ranked("all", tier, pairs, right)
    lines = ["| operation | pairs | calibrated | family | specs | roofline |", "|---|--:|--:|--:|--:|--:|"]
    for name in dict.fromkeys(operation for operation, _ in rows):
        cells = [f"{rows[name, tier].right_pct:.1f}" if (name, tier) in rows else "–" for tier in tiers]
        lines.append(f"| {name} | {rows[name, 'roofline'].pairs:,} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _table(scored: list, columns: tuple[str, ...]) -> str:
    lines: dict[tuple[str, ...], dict[str, Score]] = {}
    for each in scored:
        key = (each.op,) if columns == ("operation",) else (each.device.partition("(")[0].strip(), each.op, each.dtype)
        lines.setdefault(key, {})[each.tier] = each.score
    head = (*columns, "rows", "calibrated", "median", "p90", "rank", "family", "specs", "roofline")
    rows = [f"| {' | '.join(head)} |", f"|{'---|' * len(columns)}{'--:|' * (len(head) - len(columns))}"]
    for key, tiers in lines.items():
        best = tiers.get("calibrated")
        cells = [f"{tiers['roofline'].rows:,}", *(_cell(best, name) for name in ("mape", "median", "p90", "spearman"))]
        cells += [_cell(tiers.get(tier), "mape") for tier in ("family", "specs", "roofline")]
        rows.append(f"| {' | '.join([*key, *cells])} |")
    return "\n".join(rows) + "\n"


def _cell(score: Score | None, name: str) -> str:
    value = getattr(score, name, float("nan"))
    if value != value:
        return "–"
    return f"{value:.3f}" if name == "spearman" else f"{value:.1f}"


if __name__ == "__main__":
    PAGE.write_text(page(collect(*read_rows(Path(sys.argv[1])), folds=5)), encoding="utf-8")
