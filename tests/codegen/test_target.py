"""The CPU that code is generated for, and the ways to ask for another."""

from __future__ import annotations

import json
import platform

import pytest

from flashsched.codegen.cpu_features import features_of
from flashsched.codegen.target import host_target
from flashsched.errors import DeviceError

x86 = pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="names of x86 CPUs")


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch):
    return lambda name: monkeypatch.setenv("FLASHSCHED_TARGET", name)


def test_the_host_by_default(ask) -> None:
    host = host_target()
    ask("native")
    assert host_target() == host
    assert host.vector_bits in (128, 256, 512)
    assert host.cores >= 1
    assert host.features


def test_what_a_log_records_is_json() -> None:
    recorded = json.loads(json.dumps(host_target().to_json()))
    assert {"triple", "cpu", "features", "caches", "cores"} <= recorded.keys()
    assert all(size > 0 for size in recorded["caches"].values())


@x86
@pytest.mark.parametrize(("level", "bits"), [("x86-64-v2", 128), ("x86-64-v3", 256), ("haswell", 256)])
def test_a_lesser_cpu(ask, level: str, bits: int) -> None:
    if host_target().vector_bits < bits:
        pytest.skip("this machine is less")
    ask(level)
    target = host_target()
    assert (target.cpu, target.vector_bits) == (level, bits)


@x86
def test_levels_are_what_llvm_says_they_are() -> None:
    from flashsched.codegen.target import _LEVELS

    for level, features in _LEVELS.items():
        assert features_of(level) == features


@pytest.mark.parametrize("name", ["zorkmid", "help", 'quo"te', "x86_64-v3"])
def test_a_name_that_llvm_does_not_know(ask, name: str) -> None:
    ask(name)
    with pytest.raises(DeviceError, match="LLVM has no CPU of that name"):
        host_target()


@x86
def test_a_near_miss_is_named(ask) -> None:
    ask("x86_64-v3")
    with pytest.raises(DeviceError, match="did you mean x86-64-v3"):
        host_target()


@x86
def test_a_cpu_that_this_machine_is_not(ask) -> None:
    ask("bdver4")  # AMD's xop, tbm and fma4 are on no other CPU
    with pytest.raises(DeviceError, match=r"cannot run code for it; it lacks .*fma4"):
        host_target()
