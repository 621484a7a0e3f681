"""Nests as text."""

from __future__ import annotations

from flashsched import te
from flashsched.codegen.lower import lower
from flashsched.schedule.ir import Alloc, Buffer, For, If, Let, Load, LoopKind, Seq, Store, blocks
from flashsched.schedule.printer import nest_text
from flashsched.te.expr import Var, const
from flashsched.testing.programs import argmax, matmul

A, B = Buffer("A", (4, 4), "float32"), Buffer("B", (4,), "int32", "local")
I, J = Var("i"), Var("i")  # noqa: E741  (as on paper)


def test_every_statement() -> None:
    turns = const(4, "int64")
    value = Var("t", "float32")
    nest = Seq(
        (
            For(
                I,
                turns,
                For(J, turns, Store(A, (I, J), const(1.0)), LoopKind.VECTORIZE, {"tail": "cut"}),
                LoopKind.PARALLEL,
            ),
            Alloc(B, Let(value, Load(A, (const(0, "int64"), const(1, "int64"))), Store(A, (I, I), value))),
            If(I < 2, Seq(()), Store(B, (I,), const(3))),
        )
    )
    assert nest_text(nest, mark=J) == (
        "for i in range(4):  # parallel\n"
        "  for i_1 in range(4):  # vectorize, tail=cut  <--\n"
        "    A[i, i_1] = 1.0\n"
        "B = alloc(int32[4], 'local')\n"
        "t = A[0, 1]\n"
        "A[i, i] = t\n"
        "if i < 2:\n"
        "  pass\n"
        "else:\n"
        "  B[i] = 3"
    )


def test_nothing_is_pass() -> None:
    assert nest_text(Seq(())) == "pass"
    assert nest_text(For(I, const(4, "int64"), Seq(()))) == "for i in range(4):\n  pass"


def test_a_block_with_its_conditions_and_marks() -> None:
    *_, C = matmul(5, 4, 4)
    s = te.create_schedule(C)
    s[C].split("i", 4)
    lines = nest_text(s.body, blocks="C").split("\n")
    assert lines[4:] == [
        "        C(i=i.o * 4 + i.i, j=j, k=k):  # reduces k  <--",
        "          where i.o * 4 + i.i < 5",
        "          init C[i, j] = 0.0",
        "          C[i, j] = C[i, j] + A[i, k] * B[k, j]",
    ]


def test_a_lowered_program_has_a_signature() -> None:
    _, at, value = argmax(2, 3)
    s = te.create_schedule([at, value])
    text = str(lower(s, name="largest"))
    assert text.split("\n")[0] == "def largest(A: int32[2, 3], M.v0: int32[2], M.v1: int32[2]):"


def test_any_part_of_a_nest_prints_as_it_does_in_the_nest() -> None:
    *_, C = matmul(2, 3, 4)
    s = te.create_schedule(C)
    (block,) = blocks(s.body)
    assert str(s.body) == str(s)
    assert str(block).split("\n")[0] == "C(i=i, j=j, k=k):  # reduces k"
    assert str(block.stores[0]) == "C[i, j] = C[i, j] + A[i, k] * B[k, j]"


def test_a_stage_says_that_its_memory_works_on_several_turns() -> None:
    A = te.placeholder((10, 4), name="A")
    P = te.compute((10, 4), lambda i, j: A[i, j] + 1, name="P")
    C = te.compute((8, 4), lambda t, j: P[t, j] + P[t + 2, j], name="C")
    s = te.create_schedule(C)
    s[P].compute_at(s[C], "t")
    rolling = s.copy()
    s[P].double_buffer()
    assert str(s).split("\n")[2:4] == ["    for j in range(4):", "      P(i=t + i, j=j):  # double_buffer"]
    rolling[P].rolling_buffer()
    assert "      P(i=t + i, j=j):  # rolling_buffer\n        where t == 0 or i >= 2" in str(rolling)
    assert "C(t=t, j=j):\n" in str(rolling)
    rolling[P].compute_root()
    assert "rolling_buffer" not in str(rolling)
