"""Targets: ``tvm.target.Target("llvm -mcpu=skylake-avx512")``."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from typing import Any

from flashsched.compat.tvm.ir import register_intrin_lowering
from flashsched.errors import DeviceError, did_you_mean

__all__ = ["Target", "TargetKind", "arm_cpu", "create", "cuda", "register_intrin_rule"]

_KEYS = {
    "llvm": ("cpu",), "c": ("cpu",), "stackvm": ("cpu",), "hexagon": ("hexagon", "cpu"), "cuda": ("cuda", "gpu"),
    "nvptx": ("cuda", "gpu"), "opencl": ("opencl", "gpu"), "metal": ("metal", "gpu"), "vulkan": ("vulkan", "gpu"),
    "rocm": ("rocm", "gpu"), "webgpu": ("webgpu", "gpu"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class TargetKind:
    """The sort of a target: ``llvm``, ``cuda``, …"""

    name: str

    def __str__(self) -> str:
        return self.name


class Target:
    """What code is made for.

    A program is compiled for ``llvm``; ``-mcpu`` chooses among this machine's instruction sets, other options are kept
    and not needed. Other kinds can be named and asked about, and `build` refuses them.

    >>> target = Target("llvm -mcpu=haswell")
    >>> target.kind.name, target.mcpu, str(target)
    ('llvm', 'haswell', 'llvm -keys=cpu -mcpu=haswell')
    """

    kind: TargetKind
    keys: list[str]
    attrs: dict[str, Any]
    host: Target | None
    _stack: list[Target] = []  # noqa: RUF012  (one for the process, as in TVM)

    def __init__(self, target: Any, host: Any = None) -> None:
        if isinstance(target, Target):
            kind, attrs = target.kind.name, dict(target.attrs)
            host = host if host is not None else target.host
        elif isinstance(target, dict):
            attrs = {key: value for key, value in target.items() if key not in ("kind", "host", "keys")}
            kind, host = str(target.get("kind", "llvm")), host or target.get("host")
        elif str(target).lstrip().startswith("{"):
            twin = Target(json.loads(str(target)), host)
            kind, attrs, host = twin.kind.name, twin.attrs, twin.host
        else:
            words = shlex.split(str(target))
            kind, attrs = (words[0] if words else ""), _options(words[1:])
        if kind not in _KEYS:
            raise DeviceError(f"no target {kind!r}", hint=did_you_mean(kind, _KEYS))
        keys = attrs.pop("keys", None)
        self.kind = TargetKind(kind)
        self.keys = list(_KEYS[kind]) if keys is None else (keys.split(",") if isinstance(keys, str) else list(keys))
        self.attrs = attrs
        self.host = None if host is None else Target(host)

    @property
    def mcpu(self) -> str:
        """The CPU asked for with ``-mcpu``; empty for this machine's."""
        return str(self.attrs.get("mcpu", ""))

    @property
    def mattr(self) -> list[str]:
        """The features asked for with ``-mattr``."""
        found = self.attrs.get("mattr", "")
        return [part for part in found.split(",") if part] if isinstance(found, str) else list(found)

    @property
    def model(self) -> str:
        """The model named with ``-model``."""
        return str(self.attrs.get("model", "unknown"))

    @property
    def device_name(self) -> str:
        """The device named with ``-device``."""
        return str(self.attrs.get("device", ""))

    @property
    def libs(self) -> list[str]:
        """The libraries named with ``-libs``."""
        return [part for part in str(self.attrs.get("libs", "")).split(",") if part]

    @property
    def max_num_threads(self) -> int:
        """Threads in a block of a GPU."""
        return int(self.attrs.get("max_num_threads", 1024 if "gpu" in self.keys else 1))

    @property
    def thread_warp_size(self) -> int:
        """Threads in a warp of a GPU."""
        return int(self.attrs.get("thread_warp_size", 32 if "cuda" in self.keys else 1))

    @staticmethod
    def current(allow_none: bool = True) -> Target | None:
        """The innermost target opened with ``with``.

        Raises:
            DeviceError: there is none, and *allow_none* is False.
        """
        if not Target._stack and not allow_none:
            raise DeviceError("no target is current", hint='open one: with tvm.target.Target("llvm"):')
        return Target._stack[-1] if Target._stack else None

    def __enter__(self) -> Target:
        Target._stack.append(self)
        return self

    def __exit__(self, *exc: object) -> None:
        Target._stack.pop()

    def __str__(self) -> str:
        options = [f"-{key}={_text(value)}" for key, value in sorted(self.attrs.items())]
        return " ".join([self.kind.name, f"-keys={','.join(self.keys)}", *options])

    def __repr__(self) -> str:
        return str(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Target) and str(other) == str(self)

    def __hash__(self) -> int:
        return hash(str(self))


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _options(words: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    at = 0
    while at < len(words):
        word = words[at]
        if not word.startswith("-"):
            raise DeviceError(f"{word!r} is no option of a target", hint='write options as "-mcpu=haswell"')
        key, sign, value = word.lstrip("-").partition("=")
        if not sign and at + 1 < len(words) and not words[at + 1].startswith("-"):
            at += 1
            value = words[at]
        found[key] = value if value or sign else True
        at += 1
    return found


def create(target: Any) -> Target:
    """The target that *target* describes (the name before 0.8)."""
    return Target(target)


def cuda(model: str = "unknown", arch: str | None = None, options: Any = None) -> Target:
    """A GPU of NVIDIA's."""
    return Target({"kind": "cuda", "model": model, **({"arch": arch} if arch else {})})


def arm_cpu(model: str = "unknown", options: Any = None) -> Target:
    """A CPU of ARM's."""
    return Target({"kind": "llvm", "model": model})


def register_intrin_rule(target: str, intrin: str, f: Any = None, override: bool = False) -> Any:
    """Lower calls of *intrin* for *target* by ``f(call)`` (the name before 0.8); also a decorator."""
    return register_intrin_lowering(f"tir.{intrin.removeprefix('tir.')}", target, f=f, level=11 if override else 10)
