"""Which kernels a call of ``fs.matmul`` and its like runs: those of logs, and those of the call before."""

from __future__ import annotations

import os
import warnings

import numpy as np
import pytest

import flashsched as fs
from flashsched import functions
from flashsched.tune.logs.log import LogWarning

from .arrays import normal

# -- the kernels that logs hold ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    """A log of one trial of relu on 12 x 34."""
    path = tmp_path_factory.mktemp("tuned") / "relu.jsonl"
    assert fs.tune(fs.Task("relu", shape=(12, 34)), trials=1, log=path).best is not None
    return path


@pytest.fixture
def loads(monkeypatch):
    """The kernels that came from logs, as they come."""
    found = []
    real = fs.load

    def load(logs, task):
        found.append(real(logs, task))
        return found[-1]

    monkeypatch.setattr("flashsched.tune.load.load", load)
    return found


@pytest.mark.parametrize("place", ["./tuning_logs", "a folder of FLASHSCHED_LOGS", "a file of FLASHSCHED_LOGS", "data"])
def test_logs_are_found(place, record, loads, no_logs, monkeypatch):
    folder = {"./tuning_logs": no_logs / "tuning_logs" / "cpu", "data": no_logs / "data" / "tuning_logs"}.get(
        place, no_logs / "elsewhere"
    )
    folder.mkdir(parents=True)
    log = folder / "relu.jsonl"
    log.write_bytes(record.read_bytes())
    if "FLASHSCHED_LOGS" in place:
        named = folder if "folder" in place else log
        monkeypatch.setenv("FLASHSCHED_LOGS", f"{no_logs / 'absent'}{os.pathsep}{named}")
    functions.clear_kernels()
    assert [path.name for path in functions.log_files()] == ["relu.jsonl"]
    x = normal(12, 34)
    np.testing.assert_array_equal(fs.relu(x), np.maximum(x, 0))
    assert len(loads) == 1
    fs.relu(normal(12, 35))  # of another shape: untuned, and no error
    assert len(loads) == 1


def test_a_log_of_a_newer_version_only_warns(record, no_logs):
    folder = no_logs / "tuning_logs"
    folder.mkdir()
    (folder / "new.jsonl").write_text('{"schema":"flashsched.tuning/9"}\n')
    functions.clear_kernels()
    x = normal(12, 34)
    with pytest.warns(LogWarning, match=r"relu runs untuned, for a log that can't be used(.|\n)*flashsched\.tuning/9"):
        np.testing.assert_array_equal(fs.relu(x), np.maximum(x, 0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fs.relu(x)


# -- calls that were made before -----------------------------------------------------------------------------------


CALLS = {
    "matmul": lambda x, out: fs.matmul(x, x, out=out),
    "biased": lambda x, out: fs.matmul(x, x, x[0], out=out),
    "activated": lambda x, out: fs.matmul(x, x, activation="relu", out=out),
    "add": lambda x, out: fs.add(x, x, out=out),
    "relu": lambda x, out: fs.relu(x, out=out),
    "softmax": lambda x, out: fs.softmax(x, out=out),
    "softmax over columns": lambda x, out: fs.softmax(x, axis=0, out=out),
    "layernorm": lambda x, out: fs.layernorm(x, x[0], x[1], out=out),
    "layernorm with eps": lambda x, out: fs.layernorm(x, x[0], x[1], eps=2.0, out=out),
    "rmsnorm": lambda x, out: fs.rmsnorm(x, x[0], out=out),
    "gelu": lambda x, out: fs.gelu(x, out=out),
    "gelu by tanh": lambda x, out: fs.gelu(x, form="tanh", out=out),
    "gelu with bias": lambda x, out: fs.gelu(x, x[0], out=out),
    "gelu with residual": lambda x, out: fs.gelu(x, residual=x, out=out),
    "transpose": lambda x, out: fs.transpose(x, out=out),
}
MORE = {
    "sum": lambda x, out: fs.sum(x, out=out),
    "sum of columns": lambda x, out: fs.sum(x, axis=0, out=out),
    "max": lambda x, out: fs.max(x, out=out),
    "attention": lambda x, out: fs.attention(*[x.reshape(1, 2, 3, 6)] * 3, out=out),
    "causal attention": lambda x, out: fs.attention(*[x.reshape(1, 2, 3, 6)] * 3, causal=True, out=out),
    "conv2d": lambda x, out: fs.conv2d(x.reshape(1, 1, 6, 6), np.ones((1, 1, 3, 3), x.dtype), out=out),
    "conv2d by two": lambda x, out: fs.conv2d(x.reshape(1, 1, 6, 6), np.ones((1, 1, 3, 3), x.dtype), None, 2, out=out),
    "conv2d without edge": lambda x, out: fs.conv2d(
        x.reshape(1, 1, 6, 6), np.ones((1, 1, 3, 3), x.dtype), padding=0, out=out
    ),
}


def test_each_call_is_made_as_it_was_the_first_time():
    """All calls on arrays of one shape, by turns, so that what one remembers is not what another asks for."""
    x, calls = normal(6, 6), CALLS | MORE
    first = {}
    for name, call in calls.items():
        functions.clear_kernels()
        first[name] = call(x, None)
    functions.clear_kernels()
    for _ in range(3):
        for name, call in calls.items():
            np.testing.assert_array_equal(call(x, None), first[name], strict=True)
            out = np.zeros_like(first[name])
            assert call(x, out) is out
            np.testing.assert_array_equal(out, first[name])
    assert len({result.tobytes() for result in first.values()}) == len(first)


@pytest.mark.parametrize("name", sorted(CALLS))
def test_a_second_call_is_only_the_kernels(name, monkeypatch):
    x = normal(6, 6)
    call = CALLS[name]
    expected = call(x, None)
    if name == "softmax over columns":  # it needs copies
        return
    for module in ("convolution", "elementwise", "nn", "products"):
        monkeypatch.setattr(f"flashsched.functions.{module}.as_arrays", None)
    np.testing.assert_array_equal(call(x, None), expected)
