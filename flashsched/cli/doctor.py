"""``flashsched doctor``: this machine and this installation: what is here, how fast it is, and what is wrong."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from flashsched.cli.progress import ProgressLine
from flashsched.cli.run import DONE, FAILED, error_text, tell
from flashsched.cli.shared_options import json_option
from flashsched.errors import FlashschedError
from flashsched.tune.figures import seconds_text

__all__ = ["doctor"]

_PACKAGES = {
    "numpy": "numpy",
    "ml_dtypes": "ml_dtypes",
    "llvmlite": "llvmlite.binding",
    "optuna": "optuna",
    "scikit-learn": "sklearn.ensemble",
    "pandas": "pandas",
    "platformdirs": "platformdirs",
    "click": "click",
}
"""What flashsched needs: package and the module that it is imported as."""

_NOISY = 0.05  # a spread above which two schedules a few percent apart can't be told from each other


@click.command(short_help="Look at this machine and this installation.")
@click.option("--measure", is_flag=True, help="Time the machine again, whatever was measured before.")
@json_option
def doctor(measure: bool, as_json: bool) -> int:
    """Look at this machine and this installation: versions, processor, caches, threads, measured peaks, noise.

    Ends with exit code 1 if something that flashsched needs does not work. The measured figures are kept, and the
    device `cpu` is made of them; measure on a quiet machine.

    \b
    Examples:
      flashsched doctor
      flashsched doctor --measure
    """
    findings: list[str] = []
    report: dict[str, Any] = {}
    with ProgressLine(as_json) as line:
        for name, part in _parts(measure).items():
            line.show(f"looking at {name}")
            try:
                report[name] = part()
            except FlashschedError as error:
                report[name] = {}
                findings.append(error_text(error).removeprefix("error: "))
            except (OSError, ImportError) as error:
                report[name] = {}
                findings.append(f"{name}: {error}")
    broken = [f"{name} cannot be imported: {text}" for name, text in _missing().items()]
    findings = [*broken, *findings]
    remarks = _remarks(report)
    if as_json:
        tell(json.dumps({"ok": not findings, **report, "problems": findings, "remarks": remarks}, indent=1))
    else:
        tell(_told(report))
        tell("")
        for text in findings:
            tell(f"PROBLEM: {text}")
        for text in remarks:
            tell(f"remark: {text}")
        if not findings:
            tell("all is well" if not remarks else "all works")
    return FAILED if findings else DONE


def _parts(measure: bool) -> dict[str, Callable[[], dict[str, Any]]]:
    return {
        "versions": _versions,
        "processor": _processor,
        "threads": _threads,
        "measured": lambda: _measured(measure),
        "cache": _cache,
        "noise": _noise,
    }


def _versions() -> dict[str, Any]:
    from importlib.metadata import PackageNotFoundError, version

    found: dict[str, Any] = {"python": platform.python_version(), "system": platform.platform()}
    for package in ("flashsched", *_PACKAGES):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def _missing() -> dict[str, str]:
    """The packages that cannot be imported, each with its reason."""
    missing = {}
    for package, module in _PACKAGES.items():
        try:
            importlib.import_module(module)
        except Exception as error:  # a broken binary raises whatever it likes
            missing[package] = f"{type(error).__name__}: {error}"
    return missing


def _processor() -> dict[str, Any]:
    from flashsched.codegen.target import host_target
    from flashsched.hw import used_host

    host, target = used_host(), host_target()
    return {
        "model": host.model,
        "cores": host.cores,
        "cores_source": host.cores_source,
        "isa": host.isa,
        "vector_bits": target.vector_bits,
        "clock_hz": host.clock_hz,
        "caches": {name: {"bytes": size, "shared": shared} for name, (size, shared) in host.caches.items()},
        "memory_bytes": host.memory_bytes,
        "target": {"triple": target.triple, "cpu": target.cpu},
    }


def _threads() -> dict[str, Any]:
    from flashsched.codegen.threads import num_threads

    said = {name: os.environ[name] for name in ("FLASHSCHED_NUM_THREADS", "FLASHSCHED_TARGET") if name in os.environ}
    return {"threads": num_threads(), "environment": said}


def _measured(again: bool) -> dict[str, Any]:
    from flashsched.codegen import probe
    from flashsched.hw import measured_path, save_measured

    if again:
        found = probe.measure()
        with contextlib.suppress(OSError):
            save_measured(found)
    else:
        found = probe.measured()
    document: dict[str, Any] = json.loads(found.to_json())
    path = measured_path()
    return {**document, "kept_in": str(path) if path.is_file() else None}


def _cache() -> dict[str, Any]:
    from flashsched.codegen.object_cache import MAX_BYTES, folder

    where = folder()
    files = [] if where is None or not where.is_dir() else [path for path in where.glob("*/*") if path.is_file()]
    near = where
    while near is not None and not near.exists() and near != near.parent:
        near = near.parent
    return {
        "folder": None if where is None else str(where),
        "writable": near is not None and os.access(near, os.W_OK),
        "objects": len(files),
        "bytes": sum(_size(path) for path in files),
        "limit_bytes": MAX_BYTES,
    }


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # another process has trimmed it
        return 0


def _noise() -> dict[str, Any]:
    """A small kernel, compiled and timed again and again for a third of a second."""
    from flashsched.codegen.build import build
    from flashsched.hw import devices
    from flashsched.tune.search.knobs import FirstKnobs
    from flashsched.tune.task import Task

    task = Task("matmul", (64, 64, 64))
    start = time.perf_counter()
    candidate = task.candidate(FirstKnobs(), devices["cpu"])
    kernel = build(candidate.schedule, candidate.args, name="doctor")
    built_s = time.perf_counter() - start
    times = kernel.time(*task.inputs(), repeat=30, min_time=0.01).times_s
    low, middle, high = statistics.quantiles(times, n=4)
    return {"spread": (high - low) / middle, "median_s": middle, "samples": len(times), "build_s": built_s}


def _remarks(report: dict[str, Any]) -> list[str]:
    """What is not wrong, and good to know."""
    from flashsched.codegen import python_entry

    remarks = []
    slow_calls = python_entry.reason()
    if slow_calls is not None:
        remarks.append(f"a call of a kernel costs microseconds where it could cost 0.2: {slow_calls}")
    spread = report["noise"].get("spread", 0.0)
    if spread > _NOISY:
        remarks.append(
            f"times spread by {spread:.0%} on this machine now; close other programs before tuning, or expect ties"
        )
    cache = report["cache"]
    if cache and cache["folder"] is None:
        remarks.append("FLASHSCHED_CACHE=off: every kernel is compiled anew in each process")
    elif cache and not cache["writable"]:
        remarks.append(f"{cache['folder']} is not writable: every kernel is compiled anew in each process")
    if report["measured"] and report["measured"]["kept_in"] is None:
        remarks.append("the measured figures could not be kept, and are taken anew where they are needed")
    if sys.flags.optimize:
        remarks.append("Python runs with -O")
    return remarks


def _told(report: dict[str, Any]) -> str:
    lines: list[str] = []

    def section(title: str, rows: dict[str, str]) -> None:
        lines.extend(([""] if lines else []) + [title, *(f"  {name:<16}{text}" for name, text in rows.items())])

    section("versions", {name: str(text) for name, text in report["versions"].items()})
    if cpu := report["processor"]:
        caches = ", ".join(
            f"{name} {_size_text(each['bytes'])}{'' if each['shared'] else ' a core'}"
            for name, each in cpu["caches"].items()
        )
        section(
            "processor",
            {
                "model": cpu["model"],
                "cores": f"{cpu['cores']} ({cpu['cores_source']})",
                "vectors": f"{cpu['isa']}, {cpu['vector_bits']} bits",
                "clock": f"{cpu['clock_hz'] / 1e9:.2f} GHz",
                "caches": caches,
                "memory": _size_text(cpu["memory_bytes"]),
                "code for": f"{cpu['target']['cpu']} ({cpu['target']['triple']})",
            },
        )
    if threads := report["threads"]:
        said = ", ".join(f"{name}={value}" for name, value in threads["environment"].items())
        section("threads", {"a kernel uses": f"{threads['threads']}" + (f" ({said})" if said else "")})
    if figures := report["measured"]:
        rows = {
            f"FMA {dtype}": f"{one / 1e9:.1f} GFLOP/s on one core, {figures['fma_flops_all'][dtype] / 1e9:.1f} on all"
            for dtype, one in figures["fma_flops"].items()
        }
        rows |= {
            f"read {level}": f"{one / 1e9:.1f} GB/s on one core"
            + (f", {figures['bandwidth_all'][level] / 1e9:.1f} on all" if level in figures["bandwidth_all"] else "")
            for level, one in figures["bandwidth"].items()
        }
        section("measured", {**rows, "kept in": figures["kept_in"] or "(not kept)"})
    if cache := report["cache"]:
        held = f"{cache['objects']} kernels, {_size_text(cache['bytes'])} of {_size_text(cache['limit_bytes'])}"
        section("compiled kernels", {"folder": cache["folder"] or "off", "holds": held})
    if noise := report["noise"]:
        median, spread = seconds_text(noise["median_s"]), noise["spread"]
        section("noise floor", {"spread": f"{spread:.1%} of {median}, between quartiles of {noise['samples']} samples"})
    return "\n".join(lines)


def _size_text(count: float) -> str:
    for unit, scale in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= scale:
            return f"{count / scale:.3g} {unit}"
    return f"{count:.0f} B"
