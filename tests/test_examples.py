"""Examples used in other ways than by running them, which ``test_docs.py`` does."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import flashsched as fs

MY_OP = Path(__file__).resolve().parents[1] / "examples" / "my_op.py"


@pytest.fixture(scope="module")
def blur():
    """The operator of the example, as a program that imports it gets it."""
    spec = importlib.util.spec_from_file_location("my_op", MY_OP)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.blur


def flashsched(folder, *arguments):
    command = [sys.executable, "-m", "flashsched", *map(str, arguments)]
    environment = os.environ | {"PYTHONIOENCODING": "utf-8"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, encoding="utf-8", timeout=120)


def test_an_operator_of_ones_own_from_the_command_line_to_the_loaded_kernel(tmp_path, blur):
    log = tmp_path / "blur.jsonl"
    done = flashsched(tmp_path, "tune", f"{MY_OP}:blur", "--shape", "35,67", "--trials", 3, "--log", log, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["best"]

    task = fs.Task(blur, shape=(35, 67))
    assert set(fs.read_log(log)["status"]) == {"correct"}
    picture = np.random.default_rng(1).random((35, 67), dtype=np.float32)
    np.testing.assert_allclose(fs.load(log, task)(picture), blur.reference(picture), rtol=1e-5)


def test_its_template_has_two_ways_for_the_first_pass(blur):
    from flashsched.hw import devices
    from flashsched.tune.search.knobs import FixedKnobs

    task = fs.Task(blur, shape=(35, 67))
    made = {
        way: task.candidate(FixedKnobs({"rows": 0, "lanes": 0, "first pass": way}), devices["cpu"]).schedule
        for way in (0, 1)
    }
    assert "vertical" not in str(made[0])
    assert "vertical" in str(made[1])
