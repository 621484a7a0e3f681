"""TVM: the operators of its own library (TOPI), their schedules found by MetaSchedule, compiled in this process.

MetaSchedule measures `TRIALS` schedules of a case before the first round, which takes a minute or more; what it found
is kept in the user's cache, and used by the next run.
"""

from __future__ import annotations

import hashlib
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeAlias

from flashsched.bench.computations import EPSILON
from flashsched.bench.peers.peer import Peer, Way, Work, empty
from flashsched.codegen import object_cache

__all__ = ["TVM"]

TRIALS = 64
"""Schedules that are measured for a case, as many as MetaSchedule takes in one of its own rounds; or as many as
``FLASHSCHED_BENCH_TVM_TRIALS`` says."""

_A_ROUND = 16  # the model of costs learns after each

Maker: TypeAlias = Callable[..., Any]
"""``make(tvm, work, *inputs)`` writes the case in tensor expressions and returns the output."""


def _ways(work: Work) -> Iterator[Way]:
    make = _MAKERS.get(work.case.op)
    if make is None:
        return
    import tvm  # type: ignore[import-not-found,unused-ignore]
    from tvm import te, tirx, topi  # noqa: F401 (what makers take of *tvm*)

    arrays = [work.contiguous(index) for index in range(len(work.inputs))]
    places = [te.placeholder(array.shape, str(array.dtype), f"i{index}") for index, array in enumerate(arrays)]
    function = te.create_prim_func([*places, make(tvm, work, *places)])
    cpu = tvm.target.codegen.llvm_get_system_cpu()
    target = tvm.target.Target({"kind": "llvm", "mcpu": cpu, "num-cores": work.threads})
    out = tvm.runtime.tensor(empty(work.case.out_shape, work.case.dtype))
    args = [*map(tvm.runtime.tensor, arrays), out]
    # three, as now and then the best computes something else
    for place, module in zip(("best", "second", "third"), _found(function, target, args), strict=False):
        yield Way(f"MetaSchedule, {place}", partial(module["main"], *args), out.numpy)


def _found(function: Any, target: Any, args: list[Any]) -> Iterator[Any]:
    """The modules of the schedules that an earlier run found for *function*, or that are searched now; best first."""
    import tvm
    from tvm.s_tir import Schedule
    from tvm.s_tir import meta_schedule as ms

    trials = int(os.environ.get("FLASHSCHED_BENCH_TVM_TRIALS", TRIALS))
    said = "\n".join([tvm.__version__, str(target), str(trials), function.script()])
    objects = object_cache.folder()
    kept = objects.parent / "bench-tvm" / hashlib.sha256(said.encode()).hexdigest()[:24] if objects else None
    with tempfile.TemporaryDirectory() as folder:
        if kept is None or not kept.is_dir():
            _tune(function, target, args, trials, folder)
            if kept is not None:  # under its name once it is whole
                part = kept.with_name(f"{kept.name}.{os.getpid()}")
                shutil.copytree(folder, part)
                part.rename(kept)
        records = ms.database.JSONDatabase(work_dir=str(kept or folder)).get_all_tuning_records()
    timed = [record for record in records if record.run_secs and math.isfinite(record.run_secs[0])]
    for record in sorted(timed, key=lambda record: min(map(float, record.run_secs))):
        schedule = Schedule(record.workload.mod)
        record.trace.apply_to_schedule(schedule, remove_postproc=False)
        yield ms.builder.local_builder.default_build(schedule.mod, target, None)


def _tune(function: Any, target: Any, args: list[Any], trials: int, folder: str) -> None:
    """Search in this process: MetaSchedule's own workers import TVM anew for each batch, which takes many seconds."""
    import tvm
    from tvm.ir.utils import derived_object
    from tvm.s_tir import meta_schedule as ms

    built: list[Any] = []

    @derived_object  # type: ignore[untyped-decorator,unused-ignore]
    class Builder(ms.builder.PyBuilder):  # type: ignore[misc,unused-ignore]
        def build(self, inputs: Any) -> list[Any]:
            return [self._one(task) for task in inputs]

        def _one(self, task: Any) -> Any:
            try:
                built.append(ms.builder.local_builder.default_build(task.mod, task.target, None))
            except Exception as problem:  # a schedule that TVM cannot build is a trial that failed
                return ms.builder.BuilderResult(None, str(problem))
            return ms.builder.BuilderResult(str(len(built) - 1), None)

    @derived_object  # type: ignore[untyped-decorator,unused-ignore]
    class Runner(ms.runner.PyRunner):  # type: ignore[misc,unused-ignore]
        def run(self, inputs: Any) -> list[Any]:
            return [self._one(built[int(task.artifact_path)]) for task in inputs]

        def _one(self, module: Any) -> Any:
            timed = module.time_evaluator("main", tvm.cpu(), number=1, repeat=3, min_repeat_ms=10)(*args)
            result = ms.runner.RunnerResult([float(seconds) for seconds in timed.results], None)
            return ms.runner.RunnerFuture(lambda: True, lambda: result)

    callbacks = ms.measure_callback
    ms.tune_tir(
        function,
        target,
        work_dir=folder,
        max_trials_global=trials,
        num_trials_per_iter=min(_A_ROUND, trials),
        builder=Builder(),
        runner=Runner(),
        measure_callbacks=[callbacks.AddToDatabase(), callbacks.UpdateCostModel()],
        num_tuning_cores=int(target.attrs["num-cores"]),
        seed=0,
    )


def _product(tvm: Any, work: Work, a: Any, b: Any, *bias: Any) -> Any:
    te, topi = tvm.te, tvm.topi
    x = topi.matmul(a, b, 0 in work.case.transposed, 1 in work.case.transposed)
    if bias:
        x = topi.add(x, bias[0])
    if work.activation == "relu":
        return topi.nn.relu(x)
    if work.activation == "gelu":  # its tanh form
        root = math.sqrt(2 / math.pi)
        inner = te.compute(x.shape, lambda i, j: root * (x[i, j] + 0.044715 * x[i, j] * x[i, j] * x[i, j]))
        return te.compute(x.shape, lambda i, j: 0.5 * x[i, j] * (1 + te.tanh(inner[i, j])))
    return x


def _batch_matmul(tvm: Any, work: Work, a: Any, b: Any) -> Any:
    """In our words: TOPI's lets the second input be rearranged ahead, as if it were constant."""
    te = tvm.te
    k = te.reduce_axis((0, work.case.shape[-1]))
    return te.compute(work.case.out_shape, lambda i, m, n: te.sum(a[i, m, k] * b[i, k, n], axis=k))


def _conv2d(tvm: Any, work: Work, image: Any, weight: Any, *bias: Any) -> Any:
    te, topi = tvm.te, tvm.topi
    channels, out, stride, padding = (work.case.shape[at] for at in (1, 4, 6, 7))
    groups, dilation = work.case.options.get("groups", 1), work.case.options.get("dilation", 1)
    if groups == 1:
        sums = topi.nn.conv2d_nchw(image, weight, stride, padding, dilation)
    elif groups == channels == out:
        sums = topi.nn.depthwise_conv2d_nchw(image, weight, stride, padding, dilation)
    else:
        sums = topi.nn.group_conv2d_nchw(image, weight, stride, padding, dilation, groups)
    return te.compute(sums.shape, lambda n, o, y, x: sums[n, o, y, x] + bias[0][o]) if bias else sums


def _attention(tvm: Any, work: Work, q: Any, k: Any, v: Any) -> Any:
    """As TOPI has no attention: products of batches, and softmax between them."""
    te, topi = tvm.te, tvm.topi
    batch, heads, length, width = work.case.shape
    d, t = te.reduce_axis((0, width)), te.reduce_axis((0, length))
    scores = te.compute(
        (batch, heads, length, length), lambda b, h, row, at: te.sum(q[b, h, row, d] * k[b, h, at, d], axis=d)
    )
    scale, least = 1 / math.sqrt(width), te.min_value(work.case.dtype)

    def seen(b: Any, h: Any, row: Any, at: Any) -> Any:
        score = scores[b, h, row, at] * scale
        return tvm.tirx.if_then_else(at <= row, score, least) if work.case.options.get("causal") else score

    share = topi.nn.softmax(te.compute(scores.shape, seen))
    return te.compute(work.case.out_shape, lambda b, h, row, at: te.sum(share[b, h, row, t] * v[b, h, t, at], axis=t))


_MAKERS: dict[str, Maker] = {
    "matmul": _product,
    "batch_matmul": _batch_matmul,
    "conv2d": _conv2d,
    "attention": _attention,
    "softmax": lambda tvm, work, x: tvm.topi.nn.softmax(x),
    "layernorm": lambda tvm, work, x, gamma, beta: tvm.topi.nn.layer_norm(x, gamma, beta, [1], EPSILON),
    "rmsnorm": lambda tvm, work, x, gamma: tvm.topi.nn.rms_norm(x, gamma, [1], EPSILON),
    "add": lambda tvm, work, a, b: tvm.topi.add(a, b),
    "relu": lambda tvm, work, x: tvm.topi.nn.relu(x),
}

TVM = Peer(
    "tvm", "TVM", "tvm", "apache-tvm", _ways, patience_s=1800.0,
    remark="MetaSchedule searches a schedule for each case first, which takes minutes, and once"
)  # fmt: skip
