"""What ``import flashsched as fs`` shows: the names that people use, each from the floor it lives on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flashsched import te
from flashsched.codegen.ahead.library import Library, load_library
from flashsched.codegen.ahead.save import save_library
from flashsched.codegen.build import build
from flashsched.codegen.lower import lower
from flashsched.codegen.stablehlo import to_stablehlo
from flashsched.codegen.threads import num_threads, set_num_threads
from flashsched.errors import (
    DeviceError,
    ExpressionError,
    FlashschedError,
    Infeasible,
    KernelError,
    LibraryError,
    LogError,
    LoweringError,
    NoRecordError,
    ScheduleError,
    TuneError,
)
from flashsched.functions import (
    Packed,
    PackedFilters,
    add,
    attention,
    conv2d,
    gelu,
    layernorm,
    matmul,
    max,
    mean,
    prepack,
    relu,
    rmsnorm,
    softmax,
    sum,
    transpose,
)
from flashsched.hw import DeviceSpec, Prediction, devices
from flashsched.ops import Operator, operator
from flashsched.schedule import Schedule, Trace, create_schedule, primitive
from flashsched.schedule.intrinsic import Intrinsic, intrinsic
from flashsched.schedule.llvm_texts import remember_llvm
from flashsched.tune.comparison.compare import compare_devices
from flashsched.tune.comparison.picture import plot_comparison
from flashsched.tune.comparison.simulate import simulate
from flashsched.tune.explaining.explain import Explanation, explain
from flashsched.tune.load import load
from flashsched.tune.many import ManyResult, tune_many
from flashsched.tune.task import Task
from flashsched.tune.tuner import Progress, Result, tune

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "DeviceError",
    "DeviceSpec",
    "ExpressionError",
    "FlashschedError",
    "Explanation",
    "Infeasible",
    "Intrinsic",
    "KernelError",
    "Library",
    "LibraryError",
    "LogError",
    "LoweringError",
    "ManyResult",
    "NoRecordError",
    "Operator",
    "Packed",
    "PackedFilters",
    "Prediction",
    "Progress",
    "Result",
    "Schedule",
    "ScheduleError",
    "Task",
    "Trace",
    "TuneError",
    "add",
    "attention",
    "build",
    "compare_devices",
    "conv2d",
    "create_schedule",
    "devices",
    "explain",
    "gelu",
    "intrinsic",
    "layernorm",
    "load",
    "load_library",
    "lower",
    "matmul",
    "max",
    "mean",
    "num_threads",
    "operator",
    "plot_comparison",
    "prepack",
    "primitive",
    "read_log",
    "relu",
    "remember_llvm",
    "rmsnorm",
    "save_library",
    "set_num_threads",
    "simulate",
    "softmax",
    "sum",
    "te",
    "to_stablehlo",
    "transpose",
    "tune",
    "tune_many",
    "validate",
]


def read_log(log: str | Path | Sequence[str | Path], columns: Sequence[str] = ()) -> pd.DataFrame:
    """The trials of a tuning log (or of several) as a pandas DataFrame, one row a trial.

    Columns: trial, op, shape, dtype, device, source, status, time_s (median, NaN where there is none), gflops,
    share_of_roofline, error, and more; see `flashsched.tune.logs.report.COLUMNS`. *columns* picks some, which spares
    memory where a log has a million trials.

    Raises:
        LogError: there is no such log, or it is of a newer version. Damaged lines are skipped with a warning.
    """
    from flashsched.tune.logs.report import read_log as read

    return read(log, columns)


def validate(data: str | Path, device: str | None = None, folds: int = 5, *, rows: bool = False) -> pd.DataFrame:
    """The device models held against the measurements in *data* (a CSV file, or a folder of them), as a DataFrame.

    *device*: only this one, by our name, the measurements' own, or its file.

    One row per device, operation, dtype, range of measured times and tier, with the mean, median and 90th percentile
    of the error in percent and the rank correlation; with *rows*, one row for each prediction instead. Its
    ``attrs["notes"]`` says what has no model and was left out.

    Raises:
        DeviceError: *data* holds no measurement that a model is there for.
    """
    from flashsched.hw.validation import validate_models
    from flashsched.hw.validation.report import score_records
    from flashsched.tune.logs.report import as_frame

    one = devices[device] if device is not None and device.endswith(".toml") else device
    outcome = validate_models(Path(data), device=one, folds=folds)
    df = as_frame(outcome.columns() if rows else score_records(outcome))
    df.attrs["notes"] = outcome.notes.lines
    return df
