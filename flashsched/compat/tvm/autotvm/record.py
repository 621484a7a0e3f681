"""AutoTVM's log format: a line of JSON for each measurement, as TVM 0.5 to 0.19 wrote it.

A line of TVM's own is read like one of ours; where the template is registered, `apply_history_best` applies it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flashsched.compat.tvm.autotvm.measure import MeasureInput, MeasureResult
from flashsched.compat.tvm.autotvm.space import ConfigEntity
from flashsched.compat.tvm.autotvm.task import ApplyHistoryBest, Task
from flashsched.compat.tvm.target import Target
from flashsched.errors import LogError

__all__ = ["AUTOTVM_LOG_VERSION", "decode", "encode", "load_from_file", "pick_best"]

AUTOTVM_LOG_VERSION = 0.2


def encode(inp: MeasureInput, result: MeasureResult, protocol: str = "json") -> str:
    """One measurement as one line, without its newline.

    Raises:
        LogError: another protocol than ``"json"`` is asked for.
    """
    if protocol != "json":
        raise LogError(f"the log is written as 'json', not as {protocol!r}")
    costs = list(result.costs) if result.error_no == 0 else [1e9]
    data = {
        "input": [str(inp.target), inp.task.name, _plain(inp.task.workload[1:]), {}],
        "config": inp.config.to_json_dict(),
        "result": [costs, int(result.error_no), result.all_cost, result.timestamp],
        "version": AUTOTVM_LOG_VERSION,
        "tvm_version": "flashsched",
    }
    return json.dumps(data)


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def decode(row: str, protocol: str = "json") -> tuple[MeasureInput, MeasureResult] | None:
    """The measurement in a line of a log; None where it is of a version before 0.2.

    Raises:
        LogError: the line is no measurement.
    """
    try:
        data = json.loads(row)
        if float(data.get("version", 0)) < AUTOTVM_LOG_VERSION:
            return None
        target, name, args, _kwargs = data["input"]
        task = Task(name, _tuples(args))
        task.target = Target(target)
        costs, error_no, all_cost, timestamp = data["result"]
        inp = MeasureInput(task.target, task, ConfigEntity.from_json_dict(data["config"]))
        return inp, MeasureResult(tuple(costs), int(error_no), float(all_cost), float(timestamp))
    except (KeyError, TypeError, ValueError) as error:
        raise LogError(f"no line of an AutoTVM log: {row.strip()[:80]} ({error})") from None


def load_from_file(filepath: Any) -> Iterator[tuple[MeasureInput, MeasureResult]]:
    """The measurements in a log, a damaged line left out with a warning.

    Raises:
        LogError: the file can't be read.
    """
    import warnings

    try:
        text = Path(filepath).read_text(encoding="utf-8")
    except OSError as error:
        raise LogError(f"{filepath}: {error.strerror or error}") from None
    for number, row in enumerate(text.splitlines(), 1):
        if not row.strip() or row.startswith("#"):
            continue
        try:
            found = decode(row)
        except LogError as error:
            warnings.warn(f"{filepath}:{number} is left out: {error.reason}", stacklevel=2)
            continue
        if found is not None:
            yield found


def pick_best(in_file: Any, out_file: Any) -> None:
    """Write the best measurement of each target and workload of *in_file* to *out_file*."""
    pairs = list(load_from_file(in_file))
    best = ApplyHistoryBest(pairs)
    kept: dict[str, str] = {}
    for inp, result in pairs:
        chosen = best.query(inp.target, inp.task.workload)
        key = f"{inp.target} {inp.task.workload}"
        if result.error_no == 0 and repr(chosen) == repr(inp.config) and key not in kept:
            kept[key] = encode(inp, result)
    Path(out_file).write_text("".join(f"{line}\n" for line in kept.values()), encoding="utf-8")
