"""What a tuning log costs as it grows: an append, a report, a table, a look-up, and their memory.

python benchmarks/log.py [RECORDS...]    by default 1000 10000 100000; a million takes 4 GB of the temporary folder

Records are those that ship for matmul on the CPU, each under an id of its own, so lines are as long as real ones. Every
figure is of a fresh process, with its peak memory. Appended are 2,000 records, one by one, to a log that has so many.
"""

from __future__ import annotations

import itertools
import random
import resource
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import flashsched as fs
from flashsched.tune.load import best_record
from flashsched.tune.logs.log import TuningLog, read
from flashsched.tune.logs.record import Record, new_record_id
from flashsched.tune.logs.report import read_log, summary

SHIPPED = Path(__file__).parents[1] / "tuning_logs" / "cpu" / "matmul.jsonl"
APPENDED = 2_000


def shipped() -> list[Record]:
    """The shipped trials, with times as a run of today writes them: 7 digits."""
    found = [record for record in read(SHIPPED) if "retimes" not in record.extra]
    return [replace(record, times_s=[float(f"{time:.7g}") for time in record.times_s]) for record in found]


def lines(count: int) -> Iterator[bytes]:
    rng = random.Random(0)
    samples = [record.to_json_line().encode() for record in shipped()]
    for n in range(count):
        line = samples[n % len(samples)]
        at = line.index(b'"record_id":"') + 13
        body = line[:at] + b"%016x" % rng.getrandbits(64) + line[at + 16 : -18]
        yield body + b',"sum":"%08x"}\n' % zlib.crc32(body)


def append(path: Path) -> None:
    log, records = TuningLog(path), itertools.cycle(shipped())
    for record in itertools.islice(records, APPENDED):
        log.append(replace(record, record_id=new_record_id()))


WORK = {
    "append": append,
    "report": summary,
    "load": lambda path: best_record(path, fs.Task("matmul", (512, 512, 512))),
    "read_log": read_log,
    "4 columns": lambda path: read_log(path, ("trial", "status", "time_s", "started_at")),
}


def measured(work: str, path: Path) -> tuple[float, int]:
    """Seconds and peak MiB of one piece of work, in a process of its own."""
    command = [sys.executable, __file__, "--one", work, str(path)]
    seconds, peak = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return float(seconds), int(peak)


def main(counts: list[int]) -> None:
    print(f"{'records':>9} {'MB':>6}" + "".join(f"{work:>20}" for work in WORK))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "log.jsonl")
        for count in counts:
            with path.open("wb") as file:
                file.writelines(lines(count))
            size = path.stat().st_size
            cells = []
            for work in WORK:
                seconds, peak = measured(work, path)
                shown = f"{1e6 * seconds / APPENDED:.0f} us each" if work == "append" else f"{seconds:.2f} s"
                cells.append(f"{shown}, {peak} MiB")
            print(f"{count:>9} {size / 1e6:>6.0f}" + "".join(f"{cell:>20}" for cell in cells), flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        start = time.perf_counter()
        WORK[sys.argv[2]](Path(sys.argv[3]))
        print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
    else:
        main([int(word) for word in sys.argv[1:]] or [1_000, 10_000, 100_000])
