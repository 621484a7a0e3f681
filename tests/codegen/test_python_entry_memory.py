"""Calls of a kernel from Python: who holds what, for how long, and in which thread."""

from __future__ import annotations

import gc
import sys
import threading
import tracemalloc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from flashsched import te
from flashsched.codegen.build import build
from flashsched.codegen.jit import compile_module
from flashsched.codegen.kernel import Kernel, Param
from flashsched.codegen.target import host_target
from flashsched.errors import KernelError, WorkspaceError

from .entry_kernels import SHAPE, plus, plus_of_any_size, times_number, two_outputs, whole

# nothing is left behind


def test_references_are_given_back() -> None:
    a, b, c = whole(), whole(), whole()
    f, two, g = plus(), two_outputs(), plus().bind(a, b, c)
    line, wrong = whole(shape=(4,)), whole("float64")
    objects = [a, b, c, line, wrong, None, g, a.dtype]
    calls: list[Callable[[], Any]] = [
        lambda: f(a, b, c),
        lambda: f(a, b),
        lambda: two(line),
        lambda: two(line, b[0], b[1]),
        lambda: g(),
        lambda: plus_of_any_size()(a, b, c),
        lambda: times_number()(0.5, whole(shape=(5,))),
        lambda: refused(f, a, wrong, c),
        lambda: refused(f, a, b, a),
    ]
    for call in calls:
        call()
        gc.collect()
        before = [sys.getrefcount(thing) for thing in objects]
        for _ in range(1000):
            call()
        gc.collect()  # a traceback and what it came through hold each other
        after = [sys.getrefcount(thing) for thing in objects]
        assert all(abs(new - old) < 100 for new, old in zip(after, before, strict=True)), call


def refused(f: Kernel, *args: Any) -> None:
    with pytest.raises(KernelError):
        f(*args)


def test_memory_does_not_grow() -> None:
    a, line = whole(), whole(shape=(4,))
    f, two, g = plus(), two_outputs(), plus().bind(a, a)

    def rounds() -> None:
        for _ in range(500):
            f(a, a)
            two(line)
            g()

    rounds()
    tracemalloc.start()
    try:
        rounds()
        before = tracemalloc.get_traced_memory()[0]
        rounds()
        assert tracemalloc.get_traced_memory()[0] - before < 2000  # bytes; 500 arrays are 50,000
    finally:
        tracemalloc.stop()


def test_a_kernel_goes_with_its_last_name() -> None:
    a = te.placeholder((2,), name="a")
    f = build(te.create_schedule(te.compute((2,), lambda i: a[i] + 5, name="b")), name="goes")
    gone = weakref.ref(f), weakref.ref(f.module)
    f(whole(shape=(2,)))
    gc.disable()
    try:
        del f
        assert [name() for name in gone] == [None, None]
    finally:
        gc.enable()


def test_a_function_outlives_its_kernel() -> None:
    a = te.placeholder((2,), name="a")
    f = build(te.create_schedule(te.compute((2,), lambda i: a[i] + 6, name="b")), name="stays")
    call, bound, one = f.__call__, f.bind(whole(shape=(2,))).__call__, whole(shape=(2,))
    del f
    gc.collect()
    assert call(one).tolist() == bound().tolist() == [7.0, 8.0]
    with pytest.raises(KernelError, match="got 0 arguments"):
        call()


def test_no_memory_for_a_fresh_output() -> None:
    module = compile_module("define void @huge(ptr %a, ptr %x, ptr %y) {\n  ret void\n}", host_target())
    params = [Param("a", (1,), "int8"), Param("x", (1,), "int8", True), Param("y", (1 << 60,), "int8", True)]
    f = Kernel(module, params, "huge")
    for call in (f, f.caller):
        with pytest.raises(MemoryError):
            call(np.zeros(1, np.int8))


def test_no_memory_inside() -> None:
    text = """define void @lacks(ptr %a, ptr %b, ptr %lacking) {
  %wanted = load i64, ptr %a
  store i64 %wanted, ptr %lacking
  ret void
}"""
    params = [Param("a", (1,), "int64"), Param("b", (1,), "int64", True)]
    f = Kernel(compile_module(text, host_target()), params, "lacks", may_lack_memory=True)
    a, b = np.array([77]), np.array([0])
    g = f.bind(a, b)
    for call in (lambda: f(a, b), lambda: f(a), g):
        with pytest.raises(WorkspaceError, match="needs 77 bytes, and they are not to be had"):
            call()
    a[0] = 0
    assert f(a, b) is b
    assert g() is b


# threads


def test_threads_call_one_kernel() -> None:
    f, wrong = plus(), []

    def work(number: int) -> None:
        a, c = np.full(SHAPE, number, np.float32), np.empty(SHAPE, np.float32)
        g = f.bind(a, a, np.empty(SHAPE, np.float32))
        for _ in range(500):
            if not ((f(a, a, c) == 2 * number).all() and (f(a, a) == 2 * number).all() and (g() == 2 * number).all()):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_other_threads_run_meanwhile(slow: list[int], waiting: Callable[..., Kernel]) -> None:
    a, b = np.zeros(1, np.int64), np.zeros(1, np.int64)
    for call in (lambda: waiting()(a, b), waiting().bind(a, b)):
        a[0] = 0
        threading.Timer(0.02, lambda: a.fill(9)).start()
        assert call().tolist() == [9]
    assert slow == []


def test_brief_kernels_keep_the_gil() -> None:
    assert plus().caller.brief
    assert not plus(shape=(300, 400)).caller.brief
    assert not plus_of_any_size().caller.brief
    s = te.create_schedule(te.compute((4,), lambda i: i, name="x"))
    s["x"].parallel("i")
    assert not build(s).caller.brief
