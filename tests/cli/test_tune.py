"""`flashsched tune`: what it says, what it leaves, and that no interruption costs a record."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flashsched.tune.logs.log import read, verify

Cli = Callable[..., Any]

QUICK = ("--shape", "4,32", "--device", "cpu-xeon", "--seed", "1")
"""A search that takes a second: element-wise, on a device model."""

IMPOSSIBLE = """
import flashsched as fs
from flashsched import te

@fs.operator(shape=(8,))
def never(N):
    X = te.placeholder((N,), name="X")
    return [X, te.compute((N,), lambda i: X[i] + 1, name="Y")]

@never.template("cpu")
def schedule(s, args, knobs, spec):
    knobs.require(False, "there is no way")

@fs.operator(shape=(8,))
def buggy(N):
    X = te.placeholder((N,), name="X")
    return [X, te.compute((N,), lambda i: X[i] + 1, name="Y")]

@buggy.template("cpu")
def other(s, args, knobs, spec):
    return {}["key"]
"""


def test_a_run_ends_with_a_summary_and_a_log(cli: Cli) -> None:
    done = cli("tune", "relu", *QUICK, "--trials", "3", "--show")
    assert done.code == 0
    log = Path("tuning_logs/cpu-xeon-sim/relu.jsonl")
    assert [record.status for record in read(log)][:1] == ["unverified"]
    assert "relu 4,32 float32 on cpu-xeon-sim: 3 trials" in done.out
    assert f"log       {log}" in done.out
    assert "flashsched show relu --shape 4,32 --device cpu-xeon-sim" in done.out
    assert "s = te.create_schedule(" in done.out
    assert "3/3 trials" in done.err


def test_the_command_that_the_summary_names_works(cli: Cli) -> None:
    out = cli("tune", "relu", *QUICK, "--trials", "2", "-q").out
    words = next(line for line in out.splitlines() if "flashsched show" in line).split("flashsched ")[1].split()
    done = cli(*words)
    assert (done.code, "Y(i=" in done.out) == (0, True)


def test_quiet_says_nothing_on_the_way(cli: Cli) -> None:
    done = cli("tune", "relu", *QUICK, "--trials", "2", "--quiet")
    assert (done.code, done.err) == (0, "")


def test_json_is_one_document(cli: Cli) -> None:
    done = cli("tune", "relu", *QUICK, "--trials", "3", "--json", "--log", "x.jsonl")
    document = json.loads(done.out)
    assert done.code == 0
    assert document["trials"] == 3
    assert document["log"] == "x.jsonl"
    assert document["device"] == "cpu-xeon-sim"
    assert document["task"]["shape"] == [4, 32]
    assert document["counts"] == {"correct": 3}
    assert document["elapsed_s"] > 0
    best = document["best"]
    assert best["source"] == "simulated"
    assert 0 < best["share_of_roofline"] <= 1
    assert best["gflops"] == pytest.approx(document["task"]["flops"] / best["time_s"] / 1e9)
    assert best["record_id"] in {record.record_id for record in read("x.jsonl")}
    assert "tuning relu" in done.err


def test_resume_counts_what_the_log_holds(cli: Cli) -> None:
    arguments = ("tune", "relu", *QUICK, "--log", "x.jsonl", "-q", "--json")
    cli(*arguments, "--trials", "2")
    first = [record.trace for record in read("x.jsonl") if "retimes" not in record.extra]
    document = json.loads(cli(*arguments, "--trials", "4", "--resume").out)
    searched = [record.trace for record in read("x.jsonl") if "retimes" not in record.extra]
    assert document["trials"] == len(searched) == 4
    assert searched[:2] == first
    assert len({json.dumps(trace, sort_keys=True) for trace in searched}) == 4


def test_no_valid_schedule_is_exit_code_3_and_says_why(cli: Cli) -> None:
    Path("mine.py").write_text(IMPOSSIBLE, encoding="utf-8")
    done = cli("tune", "mine.py:never", "--device", "cpu-xeon", "--trials", "2", "--json", "-q")
    assert done.code == 3
    assert "no valid schedule of never 8 float32 for cpu-xeon-sim" in done.err
    document = json.loads(done.out)
    assert (document["best"], document["trials"]) == (None, 0)
    assert document["why"]


def test_a_template_that_fails_is_shown_at_its_own_line(cli: Cli) -> None:
    Path("mine.py").write_text(IMPOSSIBLE, encoding="utf-8")
    done = cli("tune", "mine.py:buggy", "--device", "cpu-xeon", "--trials", "2", "-q")
    assert done.code == 1
    assert "KeyError: 'key'\n  | return {}[\"key\"]" in done.err


def test_this_machine_is_measured_and_loaded_from_the_log(ended: Cli, tmp_path: Path) -> None:
    done = ended("tune", "relu", "--shape", "4,32", "--trials", "2", "--cold", "--json")
    assert done.code == 0, done.err
    document = json.loads(done.out)
    assert document["best"]["status"] == "correct"
    assert document["best"]["source"] == "measured"
    assert document["log"] == "tuning_logs/cpu/relu.jsonl"
    program = (
        "import numpy as np, flashsched as fs\n"
        f"f = fs.load({document['log']!r}, fs.Task('relu', shape=(4, 32)))\n"
        "x = np.random.randn(4, 32).astype('float32')\n"
        "assert (f(x) == np.maximum(x, 0)).all()\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize(("number", "code", "name"), [(signal.SIGINT, 130, "Ctrl-C"), (signal.SIGTERM, 143, "SIGTERM")])
def test_a_stopped_run_leaves_a_whole_log_and_goes_on(
    process: Callable[..., Any], ended: Cli, tmp_path: Path, number: signal.Signals, code: int, name: str
) -> None:
    log = tmp_path / "x.jsonl"
    words = ("tune", "matmul", "--shape", "48,48,48", "--cold", "--trials", "5000", "--log", log)
    with process(*words, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler)) as child:
        deadline = time.monotonic() + 60
        while not (log.exists() and len(log.read_bytes().splitlines()) >= 2) and time.monotonic() < deadline:
            assert child.poll() is None, child.communicate()
            time.sleep(0.05)
        child.send_signal(number)
        out, err = child.communicate(timeout=30)
    assert (child.returncode, out) == (code, "")
    assert f"stopped by {name} after " in err
    assert "--resume" in err.splitlines()[-1]
    assert "Traceback" not in err
    held = verify(log)
    assert held.ok
    again = ended(*words[:6], held.records + 1, "--log", log, "--resume", "--json", "-q")
    assert again.code == 0, again.err
    assert json.loads(again.out)["trials"] == held.records + 1
    assert verify(log).ok


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
def test_a_full_disk_is_a_sentence(ended: Cli) -> None:
    done = ended("tune", "relu", *QUICK, "--trials", "2", "--log", "/dev/full")
    assert (done.code, done.out) == (1, "")
    assert "cannot write /dev/full: No space left on device" in done.err
    assert "Traceback" not in done.err


def test_a_log_of_a_newer_version_is_refused_before_any_work(cli: Cli) -> None:
    line = '{"schema":"flashsched.tuning/9"}\n'
    Path("new.jsonl").write_text(line, encoding="utf-8")
    done = cli("tune", "relu", *QUICK, "--log", "new.jsonl")
    assert done.code == 2
    assert "flashsched.tuning/9" in done.err
    assert "pip install --upgrade flashsched" in done.err
    assert Path("new.jsonl").read_text(encoding="utf-8") == line
