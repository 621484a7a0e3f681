"""Every library that is installed, in a process of its own, computes every operator right on small arrays."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from flashsched.bench.cases import Case
from flashsched.bench.computations import COMPUTATIONS
from flashsched.bench.peers import PEERS, Peer, find_peers
from flashsched.bench.peers.peer import Work, aligned, empty
from flashsched.bench.results import CaseResult
from flashsched.bench.rounds import _prepared, _Process, run_cases
from flashsched.errors import TuneError
from flashsched.ops import OPERATORS

SMALL = [
    Case("product", "matmul", (13, 17, 19)),
    Case("row", "matmul", (1, 17, 19)),
    Case("column", "matmul", (13, 1, 19)),
    Case("double", "matmul", (13, 17, 19), "float64"),
    Case("turned-a", "matmul", (13, 17, 19), transposed=(0,)),
    Case("turned-b", "matmul", (13, 17, 19), transposed=(1,)),
    Case("bias", "matmul", (13, 17, 19), options={"bias": True}),
    Case("relu-after", "matmul", (13, 17, 19), options={"bias": True, "activation": "relu"}),
    Case("gelu-after", "matmul", (13, 17, 19), options={"bias": True, "activation": "gelu"}),
    Case("batch", "batch_matmul", (5, 6, 7, 8)),
    Case("image", "conv2d", (2, 3, 9, 11, 4, 3, 1, 1)),
    Case("strides", "conv2d", (1, 3, 11, 11, 4, 7, 2, 3)),
    Case("pixel", "conv2d", (1, 8, 5, 5, 6, 1, 1, 0)),
    Case("pixel-by-2", "conv2d", (1, 8, 5, 5, 6, 1, 2, 0)),
    Case("groups", "conv2d", (1, 4, 7, 7, 6, 3, 1, 1), options={"groups": 2}),
    Case("depthwise", "conv2d", (1, 6, 7, 7, 6, 3, 2, 1), options={"groups": 6}),
    Case("dilated", "conv2d", (1, 3, 9, 9, 4, 3, 1, 2), options={"dilation": 2, "bias": True}),
    Case("attention", "attention", (1, 2, 9, 8)),
    Case("causal", "attention", (1, 2, 9, 8), options={"causal": True}),
    Case("softmax", "softmax", (7, 33)),
    Case("layernorm", "layernorm", (7, 33)),
    Case("rmsnorm", "rmsnorm", (7, 33)),
    Case("add", "add", (7, 33)),
    Case("relu", "relu", (7, 33)),
]
LACKING = {"openvino": {"double"}}  # its CPU plugin computes float64 in float32


def test_each_operator_has_a_small_case() -> None:
    assert {case.op for case in SMALL} == set(COMPUTATIONS)


@pytest.mark.parametrize("peer", PEERS.values(), ids=PEERS)
def test_a_peer_computes_every_case(peer: Peer) -> None:
    if not peer.installed:
        pytest.skip(f"{peer.package} is not installed")
    results = {result.case.name: result for result in run_cases(SMALL, [peer], threads=1, rounds=1, sample_s=1e-4)}
    wanted = {case.name for case in SMALL} - LACKING.get(peer.name, set())
    if peer.name == "flashsched":
        wanted -= {case.name for case in SMALL if case.op not in OPERATORS}
    assert {name: result.notes for name, result in results.items() if name in wanted and result.notes} == {}
    for name in wanted:
        assert results[name].failing.get(peer.name, {}) == {}
        assert results[name].errors[peer.name] <= 1
        assert results[name].seconds[peer.name][0] > 0
        assert results[name].ways[peer.name]
    for name in {case.name for case in SMALL} - wanted:
        assert "no such operator" in results[name].notes[peer.name]
        assert not results[name].seconds


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[_Process]]:
    """Processes of a peer with a name of its own, whose ways are those of the text that the test writes."""
    (tmp_path / "sitecustomize.py").write_text(PLANTED, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path(__file__).resolve().parents[2]}")
    started: list[_Process] = []
    for name in ("wrong", "raises", "exits", "slow-and-right"):
        started.append(_Process(Peer(name, name, "numpy", "numpy", lambda work: []), threads=1))
    yield started
    for process in started:
        process.__exit__(None, None, None)


PLANTED = """
import numpy as np, os, time
from flashsched.bench.peers import PEERS, Peer
from flashsched.bench.peers.peer import Way, empty

def wrong(work):
    out = empty(work.case.out_shape, work.case.dtype)
    yield Way("forgets the last", lambda: np.copyto(out[:-1], np.maximum(work.inputs[0], 0)[:-1]), lambda: out)

def raises(work):
    raise RuntimeError("no memory for this")
    yield

def exits(work):
    os.write(2, b"before\\nout of luck\\n\\n")
    os._exit(7)
    yield

def right(work):
    out = empty(work.case.out_shape, work.case.dtype)
    yield Way("slow", lambda: (time.sleep(0.05), np.maximum(work.inputs[0], 0, out=out)), lambda: out)
    yield Way("fast", lambda: np.maximum(work.inputs[0], 0, out=out), lambda: out)
    yield from wrong(work)

for name, ways in (("wrong", wrong), ("raises", raises), ("exits", exits), ("slow-and-right", right)):
    PEERS[name] = Peer(name, name, "numpy", "numpy", ways)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="sitecustomize's path is written for POSIX")
def test_what_fails_is_noted_and_the_others_go_on(planted: list[_Process]) -> None:
    case = Case("relu", "relu", (7, 33))
    for _ in range(2):  # the process that ended is started again
        result = CaseResult(case)
        ready = _prepared(planted, case, result)
        assert [process.name for process in ready] == ["slow-and-right"]
        assert result.ways == {"slow-and-right": "fast"}
        assert result.failing["slow-and-right"].keys() == {"forgets the last"}
        assert result.notes["wrong"].startswith("forgets the last: wrong: inf times")
        assert result.notes["raises"] == "preparing: RuntimeError: no memory for this"
        assert result.notes["exits"] == "its process ended with 7: out of luck"


def test_an_empty_array_begins_at_a_line_and_shows_what_was_not_written() -> None:
    array = empty((3, 5), "float32")
    assert array.ctypes.data % 64 == 0
    assert np.isnan(array).all()
    np.testing.assert_array_equal(aligned(np.arange(6.0).reshape(2, 3)), np.arange(6.0).reshape(2, 3))


def test_work_knows_how_inputs_lie() -> None:
    case = Case("turned", "matmul", (2, 3, 4), transposed=(0,))
    work = Work(case, case.inputs(), 1)
    assert work.contiguous(0).shape == (4, 2)
    assert work.contiguous(0).flags.c_contiguous
    assert work.inputs[0].shape == (2, 4)
    assert work.contiguous(1) is work.inputs[1]


def test_peers_are_found_by_name() -> None:
    assert [peer.name for peer in find_peers(["numpy"])] == ["flashsched", "numpy"]
    assert find_peers([])[:2] == [PEERS["flashsched"], PEERS["numpy"]]


def test_onnxruntime_has_a_short_name(monkeypatch: pytest.MonkeyPatch) -> None:
    here = Peer("onnxruntime", "ONNX Runtime", "numpy", "numpy", lambda work: [])
    monkeypatch.setitem(PEERS, "onnxruntime", here)
    assert find_peers(["ort"])[1:] == [here]


def test_a_wrong_peer_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TuneError, match=r"no peer 'numppy'(.|\n)*numpy"):
        find_peers(["numppy"])
    absent = Peer("absent", "Absent", "no_such_module", "no-such-package", lambda work: [])
    monkeypatch.setitem(PEERS, "absent", absent)
    assert absent.version == "unknown"
    with pytest.raises(TuneError, match=r"absent is not installed(.|\n)*pip install no-such-package"):
        find_peers(["absent"])
