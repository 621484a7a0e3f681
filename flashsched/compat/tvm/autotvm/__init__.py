"""AutoTVM: templates with knobs, tuners, measuring and logs, with the names and the log format of TVM's.

A template declares its space on ``autotvm.get_config()``; a tuner tries points of it. Each candidate is compiled,
checked against the te graph's own result and timed in worker processes, as `fs.tune` does it, so a candidate that
crashes, hangs or is wrong is a result like any other.
"""

from __future__ import annotations

from typing import Any

from flashsched.compat.tvm.autotvm import callback, measure, record, space, task, tuner
from flashsched.compat.tvm.autotvm.measure import (
    LocalBuilder,
    LocalRunner,
    MeasureErrorNo,
    MeasureInput,
    MeasureResult,
    measure_option,
)
from flashsched.compat.tvm.autotvm.record import pick_best
from flashsched.compat.tvm.autotvm.space import ConfigEntity, ConfigSpace, FallbackConfigEntity
from flashsched.compat.tvm.autotvm.task import (
    ApplyConfig,
    ApplyHistoryBest,
    DispatchContext,
    FallbackContext,
    apply_history_best,
    get_config,
    template,
)

__all__ = [
    "ApplyConfig",
    "ApplyHistoryBest",
    "ConfigEntity",
    "ConfigSpace",
    "DispatchContext",
    "FallbackConfigEntity",
    "FallbackContext",
    "LocalBuilder",
    "LocalRunner",
    "MeasureErrorNo",
    "MeasureInput",
    "MeasureResult",
    "apply_history_best",
    "callback",
    "get_config",
    "measure",
    "measure_option",
    "pick_best",
    "record",
    "space",
    "task",
    "template",
    "tuner",
]

simple_template = template
"""The name that `template` had first."""

_ELSEWHERE = {
    "RPCRunner": "candidates are measured on this machine: LocalRunner()",
    "register_topi_compute": "write a template of your own: @autotvm.template(name)",
    "register_topi_schedule": "write a template of your own: @autotvm.template(name)",
    "tophub": "there are no logs of others; tune, and keep your own with autotvm.callback.log_to_file",
    "graph_tuner": "fs.compile(model) chooses layouts for whole models",
}


def __getattr__(name: str) -> Any:
    hint = f": {_ELSEWHERE[name]}" if name in _ELSEWHERE else ""
    raise AttributeError(f"flashsched.compat.tvm.autotvm has no {name!r}{hint}")
