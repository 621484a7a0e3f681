"""pragma: words to lowering, and LLVM text that is imported without ever being in a trace."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flashsched as fs
from flashsched import te
from flashsched.errors import ArgumentError, LoweringError, TraceError, UnknownNameError
from flashsched.schedule import llvm_texts
from flashsched.schedule.primitives.pragma import PRAGMAS
from flashsched.schedule.trace import Trace
from flashsched.testing.checks import check_meaning, check_round_trip

CUBE = """
target datalayout = "e-m:e-p270:32:32-p271:32:32-p272:64:64-i64:64-i128:128-f80:128-n8:16:32:64-S128"
define float @cube(float %x) #0 {
  %a = call float @square(float %x)
  %b = fmul float %a, %x
  ret float %b
}
define internal float @square(float %x) {
  %a = fmul float %x, %x
  ret float %a
}
attributes #0 = { "target-cpu"="x86-64" "target-features"="+sse2" }
"""


def program(n: int = 12) -> tuple[Any, Any]:
    a = te.placeholder((n,), name="A")
    c = te.compute((n,), lambda i: a[i] + 1, name="C")
    return te.create_schedule(c), c


def cubes(n: int = 20) -> tuple[Any, Any]:
    te.register_intrin("cube", lambda x: x * x * x, {"float32": "cube"})
    a = te.placeholder((n,), name="A")
    c = te.compute((n,), lambda i: te.call_intrin("float32", "cube", a[i]) + 1, name="C")
    return te.create_schedule(c), c


# -- unrolling


@settings(max_examples=20, deadline=None)
@given(n=st.sampled_from([0, 1, 7, 12]), most=st.integers(0, 40), explicit=st.booleans())
def test_unrolling_by_pragma_means_the_same(n: int, most: int, explicit: bool) -> None:
    s, c = program(n)
    outer, _ = s[c].split("i", factor=3)
    s[c].pragma(outer, "auto_unroll_max_step", most)
    s[c].pragma(outer, "unroll_explicit", explicit)
    check_meaning(s, compiled=True)
    check_round_trip(s)


@pytest.mark.parametrize(("most", "loops", "stores"), [(2, 2, 1), (3, 1, 3), (11, 1, 3), (12, 0, 12)])
def test_loops_are_written_out_while_they_are_short(most: int, loops: int, stores: int) -> None:
    s, c = program()
    outer, _ = s[c].split("i", factor=3)
    s[c].pragma(outer, "auto_unroll_max_step", most)
    text = str(fs.lower(s))
    assert text.count("for ") == loops
    assert text.count("] = ") == stores


def test_only_what_is_inside_is_written_out() -> None:
    s, c = program()
    _, inner = s[c].split("i", factor=3)
    s[c].pragma(inner, "auto_unroll_max_step", 100)
    assert str(fs.lower(s)).split("\n")[1:] == [
        "  for i.o in range(4):",
        "    C[i.o * 3] = A[i.o * 3] + 1.0",
        "    C[i.o * 3 + 1] = A[i.o * 3 + 1] + 1.0",
        "    C[i.o * 3 + 2] = A[i.o * 3 + 2] + 1.0",
    ]


def test_llvm_writes_out_what_is_left_to_it() -> None:
    s, c = program()
    outer, inner = s[c].split("i", factor=3)
    s[c].unroll(inner)
    s[c].pragma(outer, "unroll_explicit", False)
    assert "for i.i in range(3):  # unroll, unroll_explicit=False" in str(fs.lower(s))
    f = fs.build(s, name="left_to_llvm")
    assert "llvm.loop.unroll.full" in f.llvm_ir()
    text = f.asm()
    assert len(re.findall(r"^\s+vaddss|^\s+addss|^\s+fadd\s", text, re.MULTILINE)) >= 3


def test_a_pragma_stays_on_a_loop_that_is_fused_or_split() -> None:
    s, c = program()
    outer, inner = s[c].split("i", factor=3)
    s[c].pragma(outer, "auto_unroll_max_step", 12)
    s[c].fuse(outer, inner)
    assert "# auto_unroll_max_step=12" in str(s)
    s[c].split(s[c].loops[0], factor=4)
    assert str(s).count("auto_unroll_max_step=12") == 2


def test_parallel_ones_are_taken_and_change_nothing() -> None:
    s, c = program()
    outer, _ = s[c].split("i", factor=3)
    s[c].parallel(outer)
    s[c].pragma(outer, "parallel_barrier_when_finish")
    s[c].pragma(outer, "parallel_launch_point", True)
    check_meaning(s, compiled=True)
    check_round_trip(s)


# -- refusals


@pytest.mark.parametrize(
    ("key", "value", "error", "says"),
    [
        ("auto_unrol_max_step", 4, UnknownNameError, "no pragma 'auto_unrol_max_step'.*did you mean auto_unroll_max"),
        ("auto_unroll_max_step", -1, ArgumentError, "takes a number of stores, got -1"),
        ("auto_unroll_max_step", True, ArgumentError, "takes a number of stores, got True"),
        ("unroll_explicit", 2, ArgumentError, "takes true or false, got 2"),
        ("parallel_launch_point", False, ArgumentError, "takes true: it can't be otherwise"),
        ("debug_skip_region", True, ArgumentError, "not for here.*would compute something else"),
        ("parallel_stride_pattern", True, ArgumentError, "not for here.*split the loop and reorder"),
        ("import_c", "int f();", ArgumentError, "not for here.*clang -S -emit-llvm"),
        ("import_llvm", "int f();", ArgumentError, "takes LLVM text that defines a function"),
    ],
)
def test_it_refuses(key: str, value: Any, error: type[Exception], says: str) -> None:
    s, c = program()
    with pytest.raises(error, match=f"(?s){says}"):
        s[c].pragma("i", key, value)
    assert len(s.trace) == 0


def test_each_pragma_is_explained() -> None:
    from flashsched.schedule.primitives.pragma import pragma

    for key in PRAGMAS:
        assert f"``{key}``" in (pragma.__doc__ or "")


# -- imports


def test_imported_functions_are_called_and_inlined() -> None:
    s, c = cubes()
    outer, inner = s[c].split("i", factor=8)
    s[c].vectorize(inner)
    s[c].pragma(outer, "import_llvm", CUBE)
    check_meaning(s, compiled=True)
    check_round_trip(s)
    f = fs.build(s, name="cubes")
    assert "cube" not in f.asm().replace("cubes", "")
    assert "define internal float @cube" in f.llvm_ir()


def test_no_trace_holds_code_and_replay_asks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    s, c = cubes()
    s[c].pragma("i", "import_llvm", CUBE)
    text = json.dumps(s.trace.to_json())
    assert "define" not in text
    assert "sha256:" in text
    trace = Trace.from_json(json.loads(text))
    monkeypatch.setattr(llvm_texts, "_texts", {})
    with pytest.raises(TraceError, match=r"the LLVM text sha256:\w+… is not here.*\n(.*\n)*.*fs.remember_llvm"):
        cubes()[0].replay(trace)
    fs.remember_llvm(CUBE)
    again = cubes()[0].replay(trace)
    np.testing.assert_array_equal(fs.build(again)(np.full(20, 2, "float32")), np.full(20, 9, "float32"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("define float @cube(float %x) {", "LLVM refuses the text of import_llvm sha256:"),
        (
            'target triple = "riscv64-unknown-linux"\n' + CUBE,
            "is LLVM text for riscv64, and the kernel is compiled for",
        ),
        (CUBE + "define float @expf(float %x) {\n  ret float %x\n}", "defines 'expf', which kernels call from"),
        (CUBE + "define void @kernel() {\n  ret void\n}", "defines 'kernel', which the kernel defines too"),
        (CUBE.replace("define float @cube", "define internal float @cube"), "that is not internal, and defines none"),
        ("@llvm.global_ctors = appending global [0 x ptr] []\n" + CUBE, "has code that runs when it is loaded"),
        (
            CUBE.replace("define float @cube(float %x) #0", "define float @cube(float %x, i32 %n) #0"),
            "kernel calls it as",
        ),
        (CUBE.replace("@cube", "@other"), "the code calls cube, which this process does not have"),
    ],
)
def test_text_that_cannot_be_linked(text: str, says: str) -> None:
    s, c = cubes()
    s[c].pragma("i", "import_llvm", text)
    with pytest.raises(LoweringError, match=says):
        fs.build(s)


def test_two_texts_with_one_function() -> None:
    s, c = cubes()
    s[c].pragma("i", "import_llvm", CUBE)
    s[c].pragma("i", "import_llvm", CUBE + "; the same, but another text")
    with pytest.raises(LoweringError, match=r"defines 'cube', which import_llvm sha256:\w+ defines too"):
        fs.build(s)


# -- stores past the caches


@settings(max_examples=20, deadline=None)
@given(
    n=st.sampled_from([1, 5, 16, 40, 67]),
    rows=st.sampled_from([1, 3, 8]),
    at=st.sampled_from(["i", "j.o", "j.i"]),
    tail=st.sampled_from(["guard", "cut", "mask"]),
    parallel=st.booleans(),
    dtype=st.sampled_from(["float32", "float64", "float16", "int8"]),
)
def test_stores_past_the_caches_mean_the_same(n, rows, at, tail, parallel, dtype) -> None:
    a = te.placeholder((rows, n), dtype, name="A")
    b = te.compute((rows, n), lambda i, j: a[i, j] + 1, name="B")
    c = te.compute((rows, n), lambda i, j: b[i, j] * 2, name="C")
    s = te.create_schedule(c)
    s[c].split("j", factor=16, tail=tail)
    s[c].vectorize("j.i")
    s[b].compute_at(s[c], "i")
    if parallel:
        s[c].parallel("i")
    s[c].pragma(at, "nontemporal")
    check_meaning(s, compiled=True)
    check_round_trip(s)


@pytest.mark.parametrize("offset", range(17))
def test_stores_past_the_caches_fill_arrays_that_begin_anywhere(offset: int) -> None:
    s, c = program(1000)
    s[c].split("i", factor=64, tail="cut")
    s[c].vectorize("i.i")
    s[c].pragma("i.o", "nontemporal")
    f = fs.build(s)
    room = np.zeros(1000 + 32, np.float32)
    a = np.arange(1000, dtype=np.float32)
    f(a, room[offset : offset + 1000])
    np.testing.assert_array_equal(room[offset : offset + 1000], a + 1)
    assert not room[:offset].any()
    assert not room[offset + 1000 :].any()


def test_only_what_the_caller_gets_goes_past_the_caches_and_a_fence_follows() -> None:
    a = te.placeholder((64, 64), name="A")
    b = te.compute((64, 64), lambda i, j: a[i, j] + 1, name="B")
    c = te.compute((64, 64), lambda i, j: b[i, j] * 2, name="C")
    s = te.create_schedule(c)
    s[b].compute_at(s[c], "i")
    s[b].vectorize("j")
    s[c].vectorize("j")
    s[c].parallel("i")
    plain = fs.build(s).llvm_ir()
    s[c].pragma("i", "nontemporal")
    text = fs.build(s).llvm_ir()
    assert "nontemporal" not in plain
    assert "fence" not in plain
    stores = [line for line in text.split("\n") if "!nontemporal" in line]
    assert stores
    assert all("%C" in line or "%at" in line for line in stores)
    assert len([line for line in text.split("\n") if re.match(r"\s+store <\d+ x float>", line)]) > len(stores)
    assert text.count("fence seq_cst") == 2  # of the thread's part, and of the whole


def test_going_past_the_caches_is_said_without_a_number() -> None:
    s, c = program()
    with pytest.raises(ArgumentError, match="pragma 'nontemporal' takes true"):
        s[c].pragma("i", "nontemporal", False)
