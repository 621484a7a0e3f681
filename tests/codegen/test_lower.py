"""Lowering as a whole: the list of passes, the arguments, and that each pass keeps the meaning."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashsched import te
from flashsched.codegen.interpreter import interpret
from flashsched.codegen.lower import PASSES, lower, program_of
from flashsched.errors import KernelError
from flashsched.schedule.ir import blocks, walk_stmt
from flashsched.schedule.program import Program
from flashsched.testing.checks import check_meaning
from flashsched.testing.graphs import graphs
from flashsched.testing.programs import argmax, chain, largest, matmul, pointwise
from flashsched.testing.schedules import schedules


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_every_pass_keeps_what_the_nest_computes(data: st.DataObject) -> None:
    drawn = data.draw(graphs())
    schedule = data.draw(schedules(drawn.outputs, most_steps=15))
    feeds = drawn.feeds()
    seen: list[str] = []

    def compare(name: str, program: Program, seconds: float) -> None:
        seen.append(name)
        assert seconds >= 0
        if name != "open_blocks":  # whose memory is not allocated yet
            drawn.check(interpret(program, list(feeds.values())), feeds)

    lower(schedule, [*drawn.inputs, *drawn.outputs], on_pass=compare)
    assert seen == [name for name, _ in PASSES]


def test_the_passes_read_aloud() -> None:
    assert [name for name, _ in PASSES] == [
        "specialize_sizes", "place_init", "open_blocks", "allocate", "pipeline_loops", "place_prefetches",
        "virtual_threads", "hoist_guards", "tidy", "rest_unread", "cut_tails", "partition_loops", "settle_tensorized",
        "auto_unroll", "unroll_loops", "keep_in_registers",
    ]  # fmt: skip


def test_no_block_is_left() -> None:
    _, P, C = chain(5, 4)
    s = te.create_schedule(C)
    s[P].compute_at(s[C], "i0")
    assert list(blocks(program_of(s).body))
    assert not list(blocks(lower(s).body))


def test_a_tiled_cut_matmul_as_it_is_compiled() -> None:
    *_, C = matmul(6, 8, 3)
    s = te.create_schedule(C)
    io, ii = s[C].split("i", 4, tail="cut")
    s[C].reorder(io, "k", ii, "j")
    s[C].unroll(ii)
    s[C].vectorize("j")
    s[C].parallel(io)
    text = str(lower(s, name="mm"))
    assert text.split("\n")[:4] == [
        "def mm(A: float32[6, 3], B: float32[3, 8], C: float32[6, 8]):",
        "  for i.o in range(2):  # parallel",
        "    if i.o * 4 < 3:",
        "      for j in range(8):  # vectorize",
    ]
    assert text.count("# vectorize") == 2 * 4 + 2 * 2  # inits and updates of a full tile, then of the two rows left
    check_meaning(s, compiled=True)


def test_arguments_in_any_order_of_inputs_and_outputs() -> None:
    A, B, C = matmul(2, 3, 4)
    s = te.create_schedule(C)
    assert [b.name for b in lower(s).params] == ["A", "B"]
    assert [b.name for b in lower(s, [B, A, C]).params] == ["B", "A"]
    unused = te.placeholder((5,), name="unused")
    assert [b.name for b in lower(s, [A, unused, B, C]).params] == ["A", "unused", "B"]
    _, at, value = argmax(2, 3)
    t = te.create_schedule([at, value])
    assert [b.name for b in lower(t, [*t.inputs, value, at]).outputs] == ["M.v1", "M.v0"]


def test_inputs_of_one_name_stay_apart() -> None:
    A, B = te.placeholder((3,), name="A"), te.placeholder((3,), name="A")
    C = te.compute((3,), lambda i: A[i] - B[i], name="C")
    program = lower(te.create_schedule(C), [B, A, C])
    assert [b.name for b in program.params] == ["A_1", "A"]
    check_meaning(te.create_schedule(C), compiled=True)


def test_arguments_that_do_not_fit() -> None:
    A, B, C = matmul(2, 3, 4)
    s = te.create_schedule(C)
    cases: list[tuple[list[object], str]] = [
        ([A, C], r"(?s)B is not among the arguments.*name every input"),
        ([A, B], "C is not among the arguments"),
        ([], "A, B, C are not among the arguments"),
        ([A, C, B], r"(?s)input B comes after output C.*inputs first"),
        ([A, B, "C"], "'C' is no tensor"),
        ([A, A, B, C], "A is named twice among the arguments"),
        ([A, B, C, C], "C is named twice among the arguments"),
    ]
    for given_args, says in cases:
        with pytest.raises(KernelError, match=says):
            lower(s, given_args)  # type: ignore[arg-type]
    with pytest.raises(KernelError, match=r"(?s)Tensor\(C.* is no schedule.*create_schedule\(C\) makes one"):
        lower(C, [A, B, C])  # type: ignore[arg-type]
    A, P, D = chain(3)
    with pytest.raises(KernelError, match=r"(?s)P is computed inside the kernel.*create_schedule\(\[\.\.\., P\]\)"):
        lower(te.create_schedule(D), [A, P, D])


def test_what_reads_another_output_of_its_own_is_computed_at_once() -> None:
    for n, k in [(3, 5), (17, 4), (2, 0)]:
        _, value, at = largest(n, k)
        s = te.create_schedule([value, at])
        s[value].reorder("k", "i")
        s[value].vectorize("i")
        check_meaning(s, compiled=True)


@pytest.mark.parametrize("dtype", ["float32", "int8", "bool"])
def test_the_default_nest_of_an_empty_program(dtype: str) -> None:
    A = te.placeholder((0, 3), dtype, name="A")
    C = te.compute((0, 3), lambda i, j: A[i, j], name="C")
    s = te.create_schedule(C)
    assert len(list(walk_stmt(lower(s).body))) == 1
    check_meaning(s, compiled=True)


def test_a_copy_of_a_constant() -> None:
    C = te.compute((3,), lambda i: te.const(2.0), name="C")
    check_meaning(te.create_schedule(C), compiled=True)
    assert [b.name for b in lower(te.create_schedule(pointwise(2)[1])).outputs] == ["C"]
