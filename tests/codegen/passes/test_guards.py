"""hoist_guards: conditions as far out as they go."""

from __future__ import annotations

from flashsched.codegen.interpreter import interpret_nest
from flashsched.codegen.passes.guards import guarded, hoist_guards
from flashsched.schedule.ir import Alloc, Buffer, For, If, Let, Load, Seq, Stmt, Store
from flashsched.schedule.printer import nest_text
from flashsched.te.expr import Expr, Var, const, logical_and
from flashsched.te.visit import conjuncts

A, B = Buffer("A", (8, 8), "float32"), Buffer("B", (8, 8), "float32")
i, j = Var("i"), Var("j")


def loop(var: Var, body: Stmt) -> For:
    return For(var, const(8, "int64"), body)


def store(buffer: Buffer = A) -> Store:
    return Store(buffer, (i, j), const(1.0))


def hoisted(nest: Stmt) -> list[str]:
    return nest_text(hoist_guards(nest)).split("\n")


def test_out_of_the_loops_that_a_condition_does_not_speak_of() -> None:
    nest = loop(i, loop(j, If(logical_and(i < 5, i + j < 9, j < 3), store())))
    assert hoisted(nest) == [
        "for i in range(8):",
        "  if i < 5:",
        "    for j in range(8):",
        "      if i + j < 9 and j < 3:",
        "        A[i, j] = 1.0",
    ]


def test_a_condition_that_all_share_is_tested_once() -> None:
    nest = loop(i, loop(j, Seq((If(i < 5, store()), If(logical_and(j < 2, i < 5), store(B))))))
    assert hoisted(nest) == [
        "for i in range(8):",
        "  if i < 5:",
        "    for j in range(8):",
        "      A[i, j] = 1.0",
        "      if j < 2:",
        "        B[i, j] = 1.0",
    ]


def test_what_only_some_share_stays() -> None:
    nest = loop(i, loop(j, Seq((If(i < 5, store()), store(B)))))
    assert hoist_guards(nest) is nest


def test_nested_conditions_become_one_and_memory_goes_inside() -> None:
    assert hoisted(If(i < 5, If(j < 3, store()))) == ["if i < 5 and j < 3:", "  A[i, j] = 1.0"]
    assert hoisted(loop(j, Alloc(B, If(i < 5, store())))) == [
        "if i < 5:",
        "  for j in range(8):",
        "    B = alloc(float32[8, 8], 'global')",
        "    A[i, j] = 1.0",
    ]


def test_a_name_is_not_taken_out_of_its_scope() -> None:
    t = Var("t", "float32")
    named = Let(t, Load(B, (i, j)), If(j < 3, Store(A, (i, j), t)))
    assert hoisted(named) == ["if j < 3:", "  t = B[i, j]", "  A[i, j] = t"]
    kept: Expr = t > 0
    assert hoisted(Let(t, Load(B, (i, j)), If(kept, Store(A, (i, j), t))))[0] == "t = B[i, j]"


def test_an_else_keeps_its_place() -> None:
    nest = loop(j, If(i < 5, store(), Store(A, (i, j), const(2.0))))
    assert hoist_guards(nest) is nest


def test_it_does_the_same() -> None:
    nest = Seq(
        (loop(i, loop(j, store())), loop(i, loop(j, If(logical_and(i < 5, i + j < 9), Store(A, (i, j), const(3.0))))))
    )
    before, after = interpret_nest(nest, {}, [A]), interpret_nest(hoist_guards(nest), {}, [A])
    assert before[0].tolist() == after[0].tolist()


def test_parts() -> None:
    assert [str(term) for term in conjuncts(logical_and(i < 1, j < 2, i < 3))] == ["i < 1", "j < 2", "i < 3"]
    body = store()
    assert guarded((), body) is body


def test_what_reads_memory_stays_where_it_is() -> None:
    """A loop may store there, or have no turns; a sequence may store there between; memory may not be made yet."""
    n, k = Buffer("n", (4,), "int64"), Var("k")
    low = Load(n, (const(0, "int64"),)) < 5
    nest = For(i, const(8, "int64"), If(logical_and(low, k < 3), Store(n, (const(0, "int64"),), i)))
    assert hoisted(nest) == ["if k < 3:", "  for i in range(8):", "    if n[0] < 5:", "      n[0] = i"]
    both = Seq((If(low, Store(n, (const(0, "int64"),), i)), If(low, store())))
    assert hoist_guards(both) is both
    own = Alloc(n, If(low, store()))
    assert hoist_guards(own) is own
