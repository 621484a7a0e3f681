"""The system's linker: from an object file to a shared library that needs nothing but the C library."""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from flashsched.codegen.target import Target, host_target
from flashsched.errors import LibraryError

__all__ = ["link_shared"]


def link_shared(code: Path, output: Path, name: str, target: Target, options: Sequence[str] = ()) -> None:
    """Link the object file *code* to the shared library *output*.

    Args:
        code: the object file.
        output: where the library is written.
        name: the file name that programs linked with it will look for.
        target: what *code* was compiled for.
        options: more for the linker, such as ``-lfoo``.

    Raises:
        LibraryError: there is no linker for *target*, or it refuses.
    """
    if target.system not in ("linux", "darwin"):
        raise LibraryError(
            f"no shared libraries are made for {target.triple}",
            hint="save an object file (.o), and link it with the compiler of that system",
        )
    command = next(_linkers(target), None)
    if command is None:
        raise LibraryError(
            f"a shared library for {target.triple} needs a linker, and there is none on the PATH",
            hint=f"install one ({_advice(target)}), or save an object file (.o) and link it where there is one",
        )
    words = [*command, "-o", str(output), str(code), *options, *_flags(command, name, target)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode:
        reason = (done.stderr.strip() or done.stdout.strip()).replace(str(code), "the kernel's code")
        raise LibraryError(
            f"{Path(command[0]).name} can't link {name}: {reason}",
            hint='a function that the kernel calls is in a library that must be named: save(path, link=["-lfoo"])'
            if "undefined" in reason
            else None,
        )


def _linkers(target: Target) -> Iterator[list[str]]:
    """The commands that may link for *target*, the likeliest first."""
    here = host_target()
    arch, apple = target.arch, target.system == "darwin"
    if (arch, target.system) == (here.arch, here.system):
        asked = shlex.split(os.environ.get("CC", ""))
        if asked and shutil.which(asked[0]):
            yield asked
        yield from ([path] for path in map(shutil.which, ("cc", "gcc", "clang")) if path)
        yield from ([path] for path in map(shutil.which, ("ld", "ld.lld")) if path and not apple)
    elif not apple:
        environment = target.triple.split("-")[-1]
        yield from ([path] for path in [shutil.which(f"{arch}-linux-{environment}-gcc")] if path)
        clang = shutil.which("clang")
        if clang and shutil.which("ld.lld"):
            yield [clang, f"--target={target.triple}", "-fuse-ld=lld"]
    if not apple:
        zig = [path] if (path := shutil.which("zig")) else [sys.executable, "-m", "ziglang"]
        if path or importlib.util.find_spec("ziglang"):
            yield [*zig, "cc", "-target", target.triple.replace("-unknown-", "-")]


def _flags(command: Sequence[str], name: str, target: Target) -> list[str]:
    if target.system == "darwin":
        return ["-dynamiclib", f"-Wl,-install_name,@rpath/{name}"]
    # nodelete: worker threads stand in the library's code to the very end, so it is never unloaded
    if Path(command[0]).name in ("ld", "ld.lld"):  # the C library is there when the library is loaded
        return ["-shared", f"-soname={name}", "-z", "nodelete", "-z", "noexecstack"]
    libraries = ["-lm"] if "android" in target.triple else ["-lm", "-lpthread"]
    return ["-shared", *libraries, f"-Wl,-soname,{name}", "-Wl,-z,nodelete", "-Wl,-z,defs", "-Wl,-z,noexecstack"]


def _advice(target: Target) -> str:
    if target.system == "darwin":
        return "xcode-select --install"
    here = host_target()
    if (target.arch, target.system) == (here.arch, here.system):
        return "apt install gcc, or pip install ziglang"
    return f"apt install gcc-{target.arch.replace('_', '-')}-linux-gnu, or pip install ziglang"
