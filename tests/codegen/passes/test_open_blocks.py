"""open_blocks: what blocks do, said of loops."""

from __future__ import annotations

from flashsched import te
from flashsched.codegen.passes.open_blocks import open_blocks
from flashsched.codegen.passes.place_init import place_init
from flashsched.schedule.ir import Let, blocks, walk_stmt
from flashsched.schedule.printer import nest_text
from flashsched.testing.programs import argmax, largest, pointwise, row_sum


def test_bindings_and_conditions() -> None:
    _, C = pointwise(10)
    s = te.create_schedule(C)
    s[C].split("i", 4)
    opened = open_blocks(s.body)
    assert not list(blocks(opened))
    assert nest_text(opened) == (
        "for i.o in range(3):\n"
        "  for i.i in range(4):\n"
        "    if i.o * 4 + i.i < 10:\n"
        "      C[i.o * 4 + i.i] = A[i.o * 4 + i.i] * 2.0 + 1.0"
    )


def test_stores_that_do_not_meet_stand_one_after_another() -> None:
    _, at, value = argmax(2, 3)  # the value does not ask for the place
    nest = open_blocks(place_init(te.create_schedule([at, value]).body))
    assert not [node for node in walk_stmt(nest) if isinstance(node, Let)]


def test_a_store_that_reads_what_another_writes_sees_it_as_it_was() -> None:
    _, value, at = largest(2, 3)
    text = nest_text(open_blocks(place_init(te.create_schedule([value, at]).body))).split("\n")
    assert [line.strip() for line in text[-4:]] == [
        "new.M.v0 = max(M.v0[i], A[i, k])",
        "new.M.v1 = select(M.v0[i] > A[i, k] or M.v0[i] == A[i, k] and M.v1[i] <= int32(k), M.v1[i], int32(k))",
        "M.v0[i] = new.M.v0",
        "M.v1[i] = new.M.v1",
    ]


def test_a_store_of_what_is_there_already_is_a_condition() -> None:
    _, C = row_sum(2, 0, 7)
    s = te.create_schedule(C)
    s.rfactor(C, s[C].split("k", 4)[0])
    text = nest_text(open_blocks(place_init(s.body))).split("\n")
    at = text.index("      if k.o * 4 + k.i < 7:")
    assert text[at + 1].strip() == "C.rf[k.o, i] = C.rf[k.o, i] + A[i, k.o * 4 + k.i]"
