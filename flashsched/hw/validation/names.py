"""Which device a measurement's ``device`` means: the name in a table is rarely the one that a spec bears.

A name is cut into words. A spec fits if the words of its model ("a100", "tpu v4") stand in the name; of several the
one whose form factor and memory agree best is taken, and a disagreement is told.
"""

from __future__ import annotations

import functools
import re

from flashsched.errors import DeviceError
from flashsched.hw.registry import devices
from flashsched.hw.spec import DeviceSpec

__all__ = ["is_called", "spec_named"]

_FORM = re.compile(r"sxm\d?|pcie|nvl|oam|\d+gb|\d+gcd|se")
_NOISE = {"nvidia", "tesla", "geforce", "quadro", "amd", "radeon", "instinct", "intel", "google", "cloud", "apple",
          "gpu", "sim", "edition", "tensor", "core", "the", "graphics", "accelerator"}  # fmt: skip


@functools.cache
def spec_named(name: str) -> tuple[DeviceSpec | None, str]:
    """The device that *name* means and a remark on it (""), or None and the reason."""
    if name in devices:
        return devices[name], ""
    words = _words(name.partition("(")[0])
    spans = {"".join(words[i:j]) for i in range(len(words)) for j in range(i + 1, len(words) + 1)}
    best: tuple[tuple[int, int, int], DeviceSpec, set[str]] | None = None
    for each in devices:
        if each == "cpu":
            continue
        spec = devices[each]
        for alias in (spec.name, *spec.aliases, spec.title):
            told = _words(alias)
            core = "".join(word for word in told if not _FORM.fullmatch(word))
            if not core or core.isdigit() or core not in spans:
                continue
            form = {word for word in told if _FORM.fullmatch(word)}
            asked = {word for word in words if _FORM.fullmatch(word)}
            score = (len(core), _agreement(form, asked), -len(form - asked))
            if best is None or score > best[0]:
                best = (score, spec, asked - form)
    if best is None:
        return None, f"no device is called {name!r}"
    _, spec, _ = best
    spec, remark = _fitted_to(spec, name)
    asked = {word for word in words if _FORM.fullmatch(word) and not word.endswith("gcd")}
    have = {word for alias in (spec.name, *spec.aliases, spec.title) for word in _words(alias)}
    lacking = sorted(word for word in asked if not any(_same(word, other) for other in have))
    if lacking:
        remark = f"{name} is taken for {spec.name}, whose data do not say {', '.join(lacking)}"
    return spec, remark


def is_called(spec: DeviceSpec, name: str) -> bool:
    """Whether *name* is one of *spec*'s own, in whatever case, with or without ``-sim``."""
    own = (spec.name, *spec.aliases, spec.title)
    return name.lower().removesuffix("-sim") in {each.lower().removesuffix("-sim") for each in own}


def _words(text: str) -> list[str]:
    words = [word for word in re.split(r"[^a-z0-9+]+", text.lower()) if word and word not in _NOISE]
    return [word for word in words if word != "gb"]


def _same(one: str, other: str) -> bool:
    """SXM4 and SXM5 are both SXM, where one of them does not say which."""
    return one == other or (one.startswith("sxm") and other.startswith("sxm") and "sxm" in (one, other))


def _agreement(form: set[str], asked: set[str]) -> int:
    agreed = sum(any(_same(word, other) for other in form) for word in asked)
    kinds = [("sxm", "pcie", "nvl", "oam")]
    clash = 0
    for kind in kinds:
        mine = {word.rstrip("0123456789") for word in form if word.startswith(kind)}
        theirs = {word.rstrip("0123456789") for word in asked if word.startswith(kind)}
        clash += bool(mine and theirs and not mine & theirs)
    memory = {word for word in form if word.endswith("gb")}, {word for word in asked if word.endswith("gb")}
    clash += bool(memory[0] and memory[1] and not memory[0] & memory[1])
    return agreed - 2 * clash


def _fitted_to(spec: DeviceSpec, name: str) -> tuple[DeviceSpec, str]:
    """*spec* with as many GPU cores as the name itself says."""
    lower = name.lower()
    try:
        cores = re.search(r"(\d+)\s*gpu", lower)
        if cores and spec.kind == "gpu" and int(cores[1]) != spec.units:
            return spec.replace(units=int(cores[1])), f"{name} is taken for {spec.name} with {cores[1]} cores"
    except DeviceError as problem:
        return spec, f"{name} is taken for {spec.name}: {problem.reason}"
    return spec, ""
