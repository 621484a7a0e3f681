"""``flashsched devices``: the devices that are known, one of them in full, or a device file checked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from flashsched.cli.run import tell, usage
from flashsched.cli.shared_options import json_option

if TYPE_CHECKING:
    from flashsched.hw import DeviceSpec

__all__ = ["devices"]


@click.command(short_help="List the devices, or tell all about one.")
@click.argument("name", required=False)
@click.option("--check", type=click.Path(path_type=Path), metavar="FILE", help="Check a device file of your own.")
@click.option("--toml", "as_toml", is_flag=True, help="Print the device as a file, to copy and change.")
@json_option
def devices(name: str | None, check: Path | None, as_toml: bool, as_json: bool) -> None:
    """List the devices, or tell all about the one called NAME, with the source of each figure.

    NAME may be one of a device's other names, a device file (.toml), or a device with figures changed.

    \b
    Examples:
      flashsched devices
      flashsched devices a100-sim
      flashsched devices "a100-sim[units=54]"
      flashsched devices a100-sim --toml > mine.toml
      flashsched devices --check mine.toml
    """
    from flashsched.hw import devices as known
    from flashsched.hw.constants import calibration_of

    if check is not None and (name is not None or as_toml):
        raise click.UsageError("--check takes a file and nothing else.")
    if as_toml and as_json:
        raise click.UsageError("--toml and --json exclude each other.")
    if as_toml and name is None:
        raise click.UsageError("--toml takes the name of one device.")
    with usage():
        if check is not None:
            spec = known.load(check)
            calibration_of(spec)
        elif name is not None:
            spec = known[name]
        else:
            specs = [known[each] for each in known]
            tell(json.dumps([_row(spec) for spec in specs], indent=1) if as_json else _table(specs))
            return
    if as_json:
        tell(json.dumps(_document(spec), allow_nan=False, indent=1))
    elif as_toml:
        tell(spec.to_toml(), end="")
    elif check is not None:
        tell(f"{check}: a sound device\n\n{spec.describe()}")
    else:
        tell(spec.describe())


def _row(spec: DeviceSpec) -> dict[str, Any]:
    from flashsched.hw import has_model

    return {
        "name": spec.name,
        "aliases": list(spec.aliases),
        "title": spec.title,
        "kind": spec.kind,
        "measured": spec.measured,
        "simulated": spec.name != "cpu" and has_model(spec),
        "units": spec.units,
        "peak_float32": spec.peaks.get("float32"),
        "dram_bytes_per_s": spec.dram.bandwidth_bytes_per_s,
    }


def _document(spec: DeviceSpec) -> dict[str, Any]:
    import tomllib

    return {"fingerprint": spec.fingerprint, **tomllib.loads(spec.to_toml())}


def _table(specs: list[DeviceSpec]) -> str:
    from flashsched.hw import has_model
    from flashsched.tune.figures import figure_text

    head = ("name", "kind", "units", "fp32 TFLOP/s", "memory GB/s", "what it is")
    rows = [head]
    for spec in specs:
        peak = spec.peaks.get("float32")
        what = spec.title if has_model(spec) else f"{spec.title} (spec only: kind {spec.kind} has no model)"
        rows.append(
            (
                *(spec.name, spec.kind, str(spec.units)),
                f"{peak / 1e12:.3g}" if peak else "-",
                figure_text(spec.dram.bandwidth_bytes_per_s / 1e9),
                what,
            )
        )
    widths = [max(len(row[at]) for row in rows) for at in range(len(head))]
    lines = [
        "  ".join(cell.rjust(widths[at]) if 2 <= at <= 4 else cell.ljust(widths[at]) for at, cell in enumerate(row))
        for row in rows
    ]
    return "\n".join(line.rstrip() for line in lines)
