"""The object cache: whole or absent, never wrong, never in the way."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from flashsched.codegen import object_cache
from flashsched.codegen.target import host_target

TEXT = "define i64 @f(i64 %x) {\n  ret i64 %x\n}\n"


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("FLASHSCHED_CACHE", str(tmp_path))
    return tmp_path


def entries(cache: Path) -> list[Path]:
    return sorted((cache / "objects").glob("*/*"))


def test_what_is_put_is_got(cache: Path) -> None:
    object_cache.put("ab" * 32, b"code")
    assert object_cache.get("ab" * 32) == b"code"
    assert object_cache.get("cd" * 32) is None
    assert len(entries(cache)) == 1


def test_a_key_says_all_that_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    target = host_target()
    keys = {
        object_cache.key(TEXT, target),
        object_cache.key(TEXT + " ", target),
        object_cache.key(TEXT, dataclasses.replace(target, cpu="other")),
        object_cache.key(TEXT, dataclasses.replace(target, features="")),
        object_cache.key(TEXT, dataclasses.replace(target, vector_bits=64)),
    }
    monkeypatch.setattr(object_cache, "CODEGEN_VERSION", -1)
    keys.add(object_cache.key(TEXT, target))
    assert len(keys) == 6


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-1], lambda b: b"", lambda b: b[:40] + bytes([b[40] ^ 1]) + b[41:], lambda b: b + b"x"]
)
def test_a_damaged_entry_is_compiled_again(cache: Path, damage) -> None:
    code, found = object_cache.object_code(TEXT, host_target())
    assert not found
    (entry,) = entries(cache)
    entry.write_bytes(damage(entry.read_bytes()))
    assert object_cache.object_code(TEXT, host_target()) == (code, False)
    assert object_cache.object_code(TEXT, host_target()) == (code, True)


def test_off(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLASHSCHED_CACHE", "off")
    assert object_cache.object_code(TEXT, host_target())[1] is False
    assert object_cache.object_code(TEXT, host_target())[1] is False
    assert not list(cache.iterdir())


def test_a_folder_that_cannot_be_written_is_done_without_and_said_once(
    cache: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    (cache / "file").write_text("a file where the folder should be")
    monkeypatch.setenv("FLASHSCHED_CACHE", str(cache / "file"))
    with pytest.warns(UserWarning, match="flashsched keeps no compiled kernels"):
        object_cache.object_code(TEXT, host_target())
    assert object_cache.object_code(TEXT, host_target())[1] is False


def test_the_longest_unused_go_first(cache: Path) -> None:
    names = [f"{i:02d}" * 32 for i in range(10)]
    for age, name in enumerate(reversed(names)):
        object_cache.put(name, bytes(1000))
        path = cache / "objects" / name[:2] / name[2:]
        os.utime(path, (1e9 - 60 * (10 - age), 1e9 - 60 * (10 - age)))
    object_cache.get(names[9])  # the oldest, now the latest used
    object_cache.trim(cache / "objects", max_bytes=5000)
    left = {path.parent.name + path.name for path in entries(cache)}
    assert left == {names[0], names[1], names[9]}


def test_the_folder_is_looked_through_once_in_many_puts(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[Path] = []
    monkeypatch.setattr(object_cache, "trim", looked.append)
    monkeypatch.setattr(object_cache, "_PUTS_FOR_A_TRIM", 20)
    for n in range(2 * 20):
        object_cache.put(f"{n:064x}", b"code")
    assert looked == [cache / "objects"] * 2


def test_many_writers_of_one_entry(cache: Path) -> None:
    code = os.urandom(200_000)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: object_cache.put("ee" * 32, code), range(40)))
        got = list(pool.map(lambda _: object_cache.get("ee" * 32), range(40)))
    assert all(one == code for one in got)
    assert [path.name for path in entries(cache)] == ["ee" * 31]


def test_a_writer_killed_midway_leaves_no_entry(cache: Path) -> None:
    program = """
import os, sys
from flashsched.codegen import object_cache
os.replace = lambda *_: os._exit(9)
object_cache.put("dd" * 32, b"code")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, "FLASHSCHED_CACHE": str(cache)}, check=False
    )
    assert done.returncode == 9
    assert object_cache.get("dd" * 32) is None
    object_cache.put("dd" * 32, b"code")
    assert object_cache.get("dd" * 32) == b"code"


def test_objects_of_another_process_are_found(cache: Path) -> None:
    program = f"""
from flashsched.codegen import object_cache
from flashsched.codegen.target import host_target
print(object_cache.object_code({TEXT!r}, host_target())[1])
"""
    object_cache.object_code(TEXT, host_target())
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"
