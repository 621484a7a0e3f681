"""Compare devices on the layers of ResNet-50, and time the comparison.

    python benchmarks/devices.py [--devices a,b,c] [--dtype float16] [--html FILE]

The layers are those of the paper (He et al., 2016, table 1, 50 layers; the stride in the 3 x 3 convolutions as most
frameworks have it), batch 1: 53 convolutions, 23 of them different, and the classifier.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import flashsched as fs
from flashsched.tune.comparison.picture import comparison_page, comparison_text
from flashsched.tune.task import Task

STAGES = ((64, 56, 3), (128, 28, 4), (256, 14, 6), (512, 7, 3))
"""Channels of the narrow convolutions, height and width of the result, blocks."""


def resnet50(batch: int, dtype: str) -> dict[Task, int]:
    """The layers, and how often each occurs."""
    counts: dict[tuple[int, ...], int] = {(batch, 3, 224, 224, 64, 7, 2, 3): 1}

    def add(*shape: int) -> None:
        counts[shape] = counts.get(shape, 0) + 1

    channels = 64
    for narrow, size, blocks in STAGES:
        for block in range(blocks):
            stride = 2 if block == 0 and narrow > 64 else 1
            before = size * stride
            add(batch, channels, before, before, narrow, 1, 1, 0)
            add(batch, narrow, before, before, narrow, 3, stride, 1)
            add(batch, narrow, size, size, 4 * narrow, 1, 1, 0)
            if block == 0:
                add(batch, channels, before, before, 4 * narrow, 1, stride, 0)
            channels = 4 * narrow
    layers = {Task("conv2d", shape, dtype): count for shape, count in counts.items()}
    return {**layers, Task("matmul", (batch, 1000, 2048), dtype): 1}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--devices", default="", help="names, parted by commas; by default 40 of those that ship")
    parser.add_argument("--dtype", default="float16")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--html", type=Path)
    given = parser.parse_args()
    names = [name for name in given.devices.split(",") if name] or _forty(given.dtype)
    started = time.perf_counter()
    layers = resnet50(given.batch, given.dtype)
    made = time.perf_counter()
    df = fs.compare_devices(layers, names)
    done = time.perf_counter()
    print(comparison_text(df))
    count = sum(layers.values())
    print(f"\n{count} layers, {len(layers)} of them different, as tasks in {made - started:.2f} s;", end=" ")
    print(f"compared on {len(names)} devices in {done - made:.2f} s ({time.process_time():.1f} s of processor in all)")
    if given.html:
        given.html.write_text(comparison_page(df, f"ResNet-50, batch {given.batch}, {given.dtype}"), encoding="utf-8")


def _forty(dtype: str) -> list[str]:
    """Forty devices that compute in *dtype*, of every kind."""
    able = [name for name in fs.devices if name != "cpu" and dtype in fs.devices[name].peaks]
    step = max(1.0, len(able) / 40)
    return [able[int(n * step)] for n in range(min(40, len(able)))]


if __name__ == "__main__":
    main()
