"""AutoTVM over ours: the published tutorial's program, spaces, logs (TVM's own too), and what fails."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flashsched.compat import tvm
from flashsched.compat.tvm import autotvm, te
from flashsched.compat.tvm.autotvm.space import ConfigSpace
from flashsched.compat.tvm.autotvm.task import TASK_TABLE
from flashsched.errors import ArgumentError, LogError, TuneError, UnknownNameError


@pytest.fixture(autouse=True)
def own_templates() -> Any:
    """Each test registers its own templates."""
    before = dict(TASK_TABLE)
    yield
    TASK_TABLE.clear()
    TASK_TABLE.update(before)


def declare_matmul() -> Any:
    @autotvm.template("tutorial/matmul")
    def matmul(N: int, L: int, M: int, dtype: str) -> Any:
        A = te.placeholder((N, L), name="A", dtype=dtype)
        B = te.placeholder((L, M), name="B", dtype=dtype)
        k = te.reduce_axis((0, L), name="k")
        C = te.compute((N, M), lambda i, j: te.sum(A[i, k] * B[k, j], axis=k), name="C")
        s = te.create_schedule(C.op)

        y, x = s[C].op.axis
        k = s[C].op.reduce_axis[0]

        cfg = autotvm.get_config()
        cfg.define_split("tile_y", y, num_outputs=2)
        cfg.define_split("tile_x", x, num_outputs=2)

        yo, yi = cfg["tile_y"].apply(s, C, y)
        xo, xi = cfg["tile_x"].apply(s, C, x)
        s[C].reorder(yo, xo, k, yi, xi)
        return s, [A, B, C]

    return matmul


def test_the_tutorial(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    matmul = declare_matmul()
    N, L, M = 64, 32, 48
    task = autotvm.task.create("tutorial/matmul", args=(N, L, M, "float32"), target="llvm")
    assert repr(task.config_space) == (
        "ConfigSpace (len=70, space_map=\n"
        "   0 tile_y: Split(policy=factors, product=64, num_outputs=2) len=7\n"
        "   1 tile_x: Split(policy=factors, product=48, num_outputs=2) len=10\n"
        ")"
    )
    assert task.flop == 2 * N * L * M
    log = tmp_path / "matmul.log"
    measure_option = autotvm.measure_option(builder="local", runner=autotvm.LocalRunner(number=5))
    tuner = autotvm.tuner.RandomTuner(task)
    with caplog.at_level(logging.DEBUG, logger="autotvm"):
        tuner.tune(n_trial=10, measure_option=measure_option, callbacks=[autotvm.callback.log_to_file(str(log))])
    assert sum("GFLOPS" in message for message in caplog.messages) == 10
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert len(lines) == 10
    assert len({line["config"]["index"] for line in lines}) == 10
    assert all(line["result"][1] == 0 for line in lines)
    assert lines[0]["input"][1:3] == ["tutorial/matmul", [N, L, M, "float32"]]
    best = min(lines, key=lambda line: sum(line["result"][0]) / len(line["result"][0]))

    with autotvm.apply_history_best(str(log)) as context:
        assert context.query(task.target, task.workload).index == best["config"]["index"]
        with tvm.target.Target("llvm"):
            s, arg_bufs = matmul(N, L, M, "float32")
            func = tvm.build(s, arg_bufs)
    a = np.random.uniform(size=(N, L)).astype(np.float32)
    b = np.random.uniform(size=(L, M)).astype(np.float32)
    c = tvm.nd.empty((N, M))
    func(tvm.nd.array(a), tvm.nd.array(b), c)
    tvm.testing.assert_allclose(c.numpy(), a.dot(b), rtol=1e-4)
    assert tuner.best_config is not None
    assert tuner.best_config.index == best["config"]["index"]
    inner = dict(best["config"]["entity"][n][::2] for n in range(2))["tile_y"][1]
    assert f"range({inner})" in str(tvm.lower(s, arg_bufs)) or inner == 1

    short = tmp_path / "best.log"
    autotvm.record.pick_best(str(log), str(short))
    assert [json.loads(line)["config"] for line in short.read_text().splitlines()] == [best["config"]]


@pytest.mark.parametrize("kind", ["GATuner", "GridSearchTuner", "XGBTuner"])
def test_each_tuner_tries_each_point_once(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    declare_matmul()
    task = autotvm.task.create("tutorial/matmul", args=(16, 8, 16, "float32"), target="llvm")

    class Bench:
        """Says that large tiles are fast, without running anything."""

        def __call__(self, inputs: Any) -> Any:
            for item in inputs:
                tile = item.config["tile_y"].size[1] * item.config["tile_x"].size[1]
                yield autotvm.MeasureResult((1e-3 / tile,), 0, 0.0, 0.0)

        def close(self) -> None:
            pass

    monkeypatch.setattr(autotvm.tuner, "create_measure_batch", lambda *_: lambda inputs: list(Bench()(inputs)))
    monkeypatch.setattr(autotvm.tuner.Tuner, "tune", _tune_without_closing)
    seen: list[int] = []
    tuner = getattr(autotvm.tuner, kind)(task)
    tuner.tune(100, callbacks=[lambda _, inputs, results: seen.extend(i.config.index for i in inputs)])
    assert sorted(seen) == list(range(25))
    assert tuner.best_config["tile_y"].size == [-1, 16]
    assert tuner.best_config["tile_x"].size == [-1, 16]


def _tune_without_closing(self: Any, n_trial: int, callbacks: Any) -> None:
    measure, done = autotvm.tuner.create_measure_batch(self.task, {}), 0
    while done < n_trial and self.has_next():
        configs = self.next_batch(4)
        inputs = [autotvm.MeasureInput(self.task.target, self.task, config) for config in configs]
        results = measure(inputs)
        for number, (item, result) in enumerate(zip(inputs, results, strict=True)):
            self._remember(done + number, item, result, "G")
        done += len(results)
        self.update(inputs, results)
        for callback in callbacks:
            callback(self, inputs, results)


def test_a_point_has_the_number_that_tvm_gives_it() -> None:
    space = ConfigSpace()
    space.define_split("tile", 8, num_outputs=2)
    space.define_knob("vec", [1, 4, 8])
    assert len(space) == 12
    point = space.get(6)
    assert (point["tile"].size, point["vec"].val) == ([-1, 4], 4)
    assert space.index_of(space.knobs_of(6)) == 6
    assert repr(point) == "[('tile', [-1, 4]), ('vec', 4)],None,6"
    assert autotvm.ConfigEntity.from_json_dict(json.loads(json.dumps(point.to_json_dict()))).__repr__() == repr(point)


@pytest.mark.parametrize(
    ("policy", "kwargs", "sizes"),
    [
        ("factors", {}, [[-1, 1], [-1, 2], [-1, 3], [-1, 4], [-1, 6], [-1, 12]]),
        ("power2", {}, [[-1, 1], [-1, 2], [-1, 4], [-1, 8]]),
        ("verbose", {}, [[-1, 1], [-1, 2], [-1, 3], [-1, 4], [-1, 6], [-1, 8], [-1, 12]]),
        ("factors", {"max_factor": 4}, [[-1, 1], [-1, 2], [-1, 3], [-1, 4]]),
        ("candidate", {"candidate": [[-1, 4], [3, 4]]}, [[-1, 4], [3, 4]]),
        ("factors", {"filter": lambda e: e.size[-1] in (4, 6)}, [[-1, 4], [-1, 6]]),
    ],
)
def test_splits(policy: str, kwargs: dict[str, Any], sizes: list[list[int]]) -> None:
    space = ConfigSpace()
    space.define_split("tile", 12, policy=policy, **kwargs)
    assert [entity.size for entity in space.space_map["tile"].entities] == sizes


def test_a_split_in_three_multiplies_out() -> None:
    space = ConfigSpace()
    space.define_split("tile", 8, num_outputs=3)
    sizes = [entity.size for entity in space.space_map["tile"].entities]
    assert [-1, 2, 4] in sizes
    assert all(8 % (a * b) == 0 for _, a, b in sizes)
    assert len(sizes) == 10


def test_orders() -> None:
    space = ConfigSpace()
    a, b, c = space.axis(4), space.axis(5), space.axis(6)
    space.define_reorder("all", [a, b, c], policy="all")
    space.define_reorder("some", [a, b, c], policy="candidate", candidate=[[b, a, c], [a, b, c]])
    space.define_reorder("interval", [a, b, c], policy="interval", interval=(1, 2))
    assert len(space.space_map["all"]) == 6
    assert [e.perm for e in space.space_map["some"].entities] == [[1, 0, 2], [0, 1, 2]]
    assert [e.perm for e in space.space_map["interval"].entities] == [[0, 1, 2], [0, 2, 1]]
    io, ii, jo, ji, k = (space.axis(2) for _ in range(5))
    space.define_reorder("mixed", [io, ii, jo, ji, k], policy="interleave", spatial=[[io, ii], [jo, ji]], reduce=[[k]])
    orders = [e.perm for e in space.space_map["mixed"].entities]
    assert len(orders) == 6
    assert all(order[:2] == [0, 2] for order in orders)


def test_annotations_knobs_and_orders_are_applied() -> None:
    @autotvm.template("rows")
    def rows(n: int) -> Any:
        A = te.placeholder((n, n), name="A")
        C = te.compute((n, n), lambda i, j: A[i, j] * 2.0, name="C")
        s = te.create_schedule(C.op)
        cfg = autotvm.get_config()
        i, j = s[C].op.axis
        cfg.define_split("tile", j, num_outputs=2, policy="candidate", candidate=[[-1, 4]])
        jo, ji = cfg["tile"].apply(s, C, j)
        cfg.define_reorder("order", [i, jo, ji], policy="candidate", candidate=[[jo, i, ji]])
        cfg["order"].apply(s, C, [i, jo, ji])
        cfg.define_annotate("ann", [i, ji], policy="try_unroll_vec")
        cfg["ann"].apply(s, C, [i, ji], axis_lens=[n, 4], max_unroll=8, vec_size=[4], cfg=cfg)
        cfg.define_knob("parallel", [False, True])
        if cfg["parallel"].val:
            s[C].parallel(jo)
        return s, [A, C]

    task = autotvm.task.create("rows", args=(8,), target="llvm")
    texts = {}
    for index in range(len(task.config_space)):
        config = task.config_space.get(index)
        texts[tuple(config["ann"].anns), config["parallel"].val] = str(task.instantiate(config)[0])
    assert "for j.i in range(4):  # vectorize" in texts[("unroll", "vec"), False]
    assert "for i in range(8):  # unroll" in texts[("unroll", "vec"), False]
    assert "# parallel" in texts[("none", "none"), True]
    assert texts[("none", "none"), False].startswith("for j.o")
    big = autotvm.task.create("rows", args=(16,), target="llvm")
    points = [big.config_space.get(number) for number in range(len(big.config_space))]
    point = next(point for point in points if point["ann"].anns == ["unroll", "vec"])
    big.instantiate(point)
    assert not point.valid()


def test_a_candidate_that_is_refused_or_ruled_out_is_a_result(tmp_path: Path) -> None:
    @autotvm.template("fragile")
    def fragile(n: int) -> Any:
        A = te.placeholder((n,), name="A")
        C = te.compute((n,), lambda i: A[i] + 1.0, name="C")
        s = te.create_schedule(C.op)
        cfg = autotvm.get_config()
        cfg.define_knob("how", ["plain", "refused", "ruled out"])
        if cfg["how"].val == "refused":
            s[C].vectorize(s[C].op.axis[0])
            s[C].unroll(s[C].op.axis[0])
        if cfg["how"].val == "ruled out":
            cfg.raise_error("no reason")
        return s, [A, C]

    task = autotvm.task.create(fragile, args=(8,), target="llvm")
    found: list[Any] = []
    tuner = autotvm.tuner.GridSearchTuner(task)
    tuner.tune(n_trial=3, callbacks=[lambda t, inputs, results: found.extend(results)])
    assert [result.error_no for result in found] == [0, 1, 1]
    assert "vectorized" in str(found[1].costs[0])
    assert "no reason" in str(found[2].costs[0])


def test_a_log_that_tvm_wrote_is_applied(tmp_path: Path) -> None:
    matmul = declare_matmul()
    line = {
        "input": ["llvm -keys=cpu -link-params=0", "tutorial/matmul", [64, 32, 48, "float32"], {}],
        "config": {
            "index": 33,
            "code_hash": None,
            "entity": [["tile_y", "sp", [-1, 32]], ["tile_x", "sp", [-1, 16]]],
        },
        "result": [[0.0001, 0.00011], 0, 0.2, 1600000000.0],
        "version": 0.2,
        "tvm_version": "0.8.0",
    }
    worse = {**line, "result": [[0.5], 0, 0.2, 1600000001.0], "config": {**line["config"], "index": 1}}
    log = tmp_path / "theirs.log"
    log.write_text(f"{json.dumps(line)}\n{json.dumps(worse)}\nnot a record\n")
    with pytest.warns(UserWarning, match=r"theirs\.log:3 is left out"):
        history = autotvm.apply_history_best(str(log))
    with history, tvm.target.Target("llvm"):
        s, args = matmul(64, 32, 48, "float32")
    assert "range(32)" in str(s)
    assert "range(16)" in str(s)
    assert len(args) == 3


def test_without_a_record_the_fallback_is_told() -> None:
    matmul = declare_matmul()
    with pytest.warns(UserWarning, match="no configuration is known"), tvm.target.Target("llvm"):
        s, args = matmul(10, 20, 30, "float32")
    assert tvm.build(s, args) is not None


@pytest.mark.parametrize(
    ("wrong", "error", "says"),
    [
        (
            lambda: autotvm.task.create("nothing", args=(), target="llvm"),
            UnknownNameError,
            "no template named 'nothing'",
        ),
        (lambda: ConfigSpace().define_split("t", 8, policy="factor"), ArgumentError, "knows no policy 'factor'"),
        (lambda: ConfigSpace().define_reorder("t", [1], policy="any"), ArgumentError, "knows no policy 'any'"),
        (lambda: ConfigSpace().define_annotate("t", [1], policy="bind_gpu"), ArgumentError, "for a CPU"),
        (lambda: ConfigSpace()["tile"], UnknownNameError, "defined no 'tile'"),
        (lambda: ConfigSpace().get(7), ArgumentError, "has 1 points"),
        (lambda: autotvm.measure_option(runner="rpc"), TuneError, "on this machine only"),
        (lambda: autotvm.LocalBuilder(build_func="ndk"), TuneError, "only 'default'"),
        (lambda: list(autotvm.record.load_from_file("/nowhere/x.log")), LogError, "x.log"),
        (lambda: ConfigSpace().define_knob("none", []), TuneError, "no options"),
        (lambda: autotvm.RPCRunner, AttributeError, "LocalRunner"),
    ],
)
def test_what_is_refused(wrong: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        wrong()


def test_a_configuration_of_another_template_is_refused() -> None:
    matmul = declare_matmul()
    space = ConfigSpace()
    space.define_knob("other", [1])
    with pytest.raises(UnknownNameError, match="made for another template"), autotvm.ApplyConfig(space.get(0)):
        matmul.function(8, 8, 8, "float32")
