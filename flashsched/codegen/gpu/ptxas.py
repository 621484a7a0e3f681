"""NVIDIA's assembler, where it is installed: whether PTX is right, and what registers a kernel really takes."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from flashsched.errors import LoweringError

__all__ = ["Resources", "assemble", "find_ptxas"]

_FUNCTION = re.compile(r"Function properties for (\S+)")
_SPILLS = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
_USED = re.compile(r"Used (\d+) registers")
_SHARED = re.compile(r"(\d+) bytes smem")
_BARRIERS = re.compile(r"used (\d+) barriers")
_OLDEST = re.compile(r"'(sm_\d+)'")
_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Resources:
    """What a kernel takes of a GPU, as its assembler says.

    Attributes:
        registers: 32-bit registers of a thread.
        spill_store_bytes, spill_load_bytes: what did not fit, by thread.
        stack_bytes: a thread's stack, spills and arrays that are indexed at run time included.
        shared_bytes: static shared memory of a block.
        arch: for what it was assembled: the oldest that the assembler knows, where the kernel's own is older.
    """

    registers: int
    spill_store_bytes: int
    spill_load_bytes: int
    stack_bytes: int
    shared_bytes: int
    arch: str


@functools.cache
def find_ptxas() -> str | None:
    """The path of ``ptxas``: of ``FLASHSCHED_PTXAS``, of the path, or of a CUDA toolkit; None where there is none."""
    named = os.environ.get("FLASHSCHED_PTXAS")
    if named:
        return named if Path(named).exists() else None
    homes = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda"]
    there = [Path(home) / "bin" / "ptxas" for home in homes if home]
    return shutil.which("ptxas") or next((str(path) for path in there if path.exists()), None)


@functools.cache
def _oldest(ptxas: str) -> int:
    """The oldest architecture that *ptxas* makes code for."""
    try:
        said = subprocess.run([ptxas, "--help"], capture_output=True, text=True, timeout=_TIMEOUT_S, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return 0
    known = [int(name[3:]) for name in _OLDEST.findall(said)]
    return min(known, default=0)


def assemble(ptx: str, arch: str) -> dict[str, Resources]:
    """What each kernel of *ptx* takes on *arch*, by its name.

    Raises:
        LoweringError: there is no assembler, or it refuses the text.
    """
    ptxas = find_ptxas()
    if ptxas is None:
        raise LoweringError(
            "there is no ptxas to assemble PTX with",
            hint="pip install nvidia-cuda-nvcc-cu12, or name it in FLASHSCHED_PTXAS",
        )
    used = f"sm_{max(int(arch[3:]), _oldest(ptxas))}"
    with tempfile.TemporaryDirectory(prefix="flashsched-") as folder:
        source = Path(folder) / "kernel.ptx"
        source.write_text(ptx)
        command = [ptxas, "-v", f"--gpu-name={used}", str(source), "-o", str(Path(folder) / "kernel.cubin")]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise LoweringError(f"ptxas does not answer: {error}") from None
    if done.returncode:
        raise LoweringError(
            f"ptxas refuses the PTX for {used}: {' '.join((done.stderr or done.stdout).split())[:2000]}",
            hint="this is a fault of the code generator, or a version of ptxas that is too old",
        )
    return _read(done.stderr + done.stdout, used)


def _read(said: str, arch: str) -> dict[str, Resources]:
    found = {}
    parts = _FUNCTION.split(said)
    for name, text in zip(parts[1::2], parts[2::2], strict=True):
        spills, used = _SPILLS.search(text), _USED.search(text)
        if used is None:  # a function that was inlined
            continue
        shared = _SHARED.search(text)
        stack, stores, loads = (int(n) for n in spills.groups()) if spills else (0, 0, 0)
        found[name] = Resources(int(used[1]), stores, loads, stack, int(shared[1]) if shared else 0, arch)
    return found
