"""``flashsched save``: a workload becomes a file that loads again."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import flashsched as fs


def test_a_shared_library_of_the_first_choice(cli, tmp_path: Path) -> None:
    if not any(map(shutil.which, ("cc", "gcc", "clang", "ld"))):
        pytest.skip("needs a linker")
    done = cli("save", "matmul", "libmm.so", "--shape", "16,24,8", "--name", "mm")
    assert (done.code, done.out) == (0, "libmm.so\n")
    assert "matmul 16,24,8 float32 for" in done.err
    assert "the template's first choice, not tuned" in done.err
    a, b = np.random.rand(16, 8).astype("float32"), np.random.rand(8, 24).astype("float32")
    np.testing.assert_allclose(fs.load_library(tmp_path / "libmm.so").mm(a, b), a @ b, rtol=1e-5)
    assert "int mm(" in (tmp_path / "mm.h").read_text()


def test_the_best_of_a_log_for_another_machine(cli, tmp_path: Path) -> None:
    log = tmp_path / "relu.jsonl"
    task = fs.Task("relu", (8, 40))
    fs.tune(task, device="cpu", trials=2, log=log, seed=0)
    done = cli(
        "save", "relu", "relu.o", "--shape", "8,40", "--log", log, "--target", "riscv64-linux-gnu+v", "--no-header"
    )
    assert done.code == 0
    assert "for riscv64-unknown-linux-gnu (generic-rv64): trial" in done.err
    assert (tmp_path / "relu.o").read_bytes()[18] == 243
    assert not (tmp_path / "relu.h").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["mm.dll"], "does not say what to save"),
        (["mm.o", "--target", "zork"], "not for 'zork'"),
        (["mm.o", "--target", "x86_64-linux-gnu:zork"], "LLVM has no CPU 'zork'"),
        (["mm.o", "--name", "a-b"], "can't be the name of a C function"),
        (["mm.o", "--device", "a100-sim"], "a100-sim is no CPU"),
        (["nowhere/mm.o"], "can't be written: No such file or directory"),
    ],
)
def test_what_is_refused(cli, words: list[str], says: str) -> None:
    done = cli("save", "matmul", "--shape", "4,4,4", *words)
    assert done.code == 2
    assert says in done.err
    assert "hint: " in done.err
