"""Compile kernels into a library, call it from C, and ship it in a Python package that needs no compiler.

    python examples/ahead_of_time.py [FOLDER]

In FOLDER (a temporary one by default) it leaves ``libops.so`` with its header, a C program that uses them, a package
that has the library as its data, and object files for other machines.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import flashsched as fs
from flashsched import te
from flashsched.codegen.kernel import Kernel

PROGRAM = r"""
#include "ops.h"
#include <stdio.h>

int main(void) {
  static float x[3 * 1000], y[3 * 1000];
  int i;
  for (i = 0; i < 3 * 1000; i++) x[i] = (float)(i % 1000);
  ops_set_num_threads(2);
  if (softmax(x, y, 3) != FLASHSCHED_DONE) return 1;
  printf("C says that the largest of 1000 has %.4f of the whole\n", y[999]);
  return 0;
}
"""

PACKAGE = '''"""A package that has its kernels compiled already."""

from importlib.resources import files

import flashsched as fs

ops = fs.load_library(files(__name__) / "libops.so")
'''

USER = """
import sys
import numpy as np
from shipped import ops

x = np.tile(np.arange(1000, dtype="float32"), (3, 1))
print(f"Python says {ops.softmax(x)[0, 999]:.4f}, with LLVM: {'llvmlite' in sys.modules}")
"""


def softmax(target: str) -> Kernel:
    """Softmax of any number of rows of 1000."""
    n = te.var("n")
    X = te.placeholder((n, 1000), name="X")
    j, k = te.reduce_axis((0, 1000), name="j"), te.reduce_axis((0, 1000), name="k")
    top = te.compute((n,), lambda i: te.max(X[i, j], axis=j), name="top")
    up = te.compute((n, 1000), lambda i, c: te.exp(X[i, c] - top[i]), name="up")
    whole = te.compute((n,), lambda i: te.sum(up[i, k], axis=k), name="whole")
    Y = te.compute((n, 1000), lambda i, c: up[i, c] / whole[i], name="Y")
    s = te.create_schedule(Y)
    rows, columns = s[Y].op.axis
    for stage in (whole, up, top):
        s[stage].compute_at(s[Y], rows)
    s[up].vectorize(s[up].op.axis[1])
    s[Y].vectorize(columns)
    s[Y].parallel(rows)
    return fs.build(s, [X, Y], target=target, name="softmax")


def main(folder: Path) -> None:
    kernel = softmax("cpu")  # "x86-64-v3" for machines of many people
    library = fs.save_library(folder / "libops.so", {"softmax": kernel})
    print(f"{library.name} has {library.stat().st_size} bytes, and {library.with_name('ops.h').name} declares:")
    print(*(line for line in (folder / "ops.h").read_text().splitlines() if "softmax(" in line))

    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        print("there is no C compiler here, so no C program is made")
    else:
        (folder / "main.c").write_text(PROGRAM)
        command = [compiler, "main.c", "-L.", "-lops", "-Wl,-rpath,$ORIGIN", "-o", "main"]
        subprocess.run(command, cwd=folder, check=True)
        subprocess.run([folder / "main"], check=True)

    package = folder / "shipped"
    package.mkdir(exist_ok=True)
    shutil.copy(library, package)
    (package / "__init__.py").write_text(PACKAGE)
    subprocess.run([sys.executable, "-c", USER], cwd=folder, check=True)

    for target in ("aarch64-linux-gnu", "riscv64-linux-gnu+v", "wasm32-wasi"):
        other = softmax(target).save(folder / f"softmax-{target}.o", header=False)
        print(f"{other.name} has {other.stat().st_size} bytes")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Kernels ahead of time: for C, for Python, for other machines.")
    parser.add_argument("folder", nargs="?", type=Path, help="where the files are left; a temporary folder by default")
    asked = parser.parse_args().folder
    if asked is not None:
        asked.mkdir(parents=True, exist_ok=True)
        main(asked)
    else:
        with tempfile.TemporaryDirectory() as made:
            main(Path(made))
