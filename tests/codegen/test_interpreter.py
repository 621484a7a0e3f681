"""The interpreter runs nests as NumPy would, and sees each fault that is planted."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashsched import te
from flashsched.codegen.interpreter import InterpreterError, interpret, interpret_nest
from flashsched.errors import LoweringError
from flashsched.schedule.ir import Alloc, Block, Buffer, For, If, Iter, Let, Load, LoopKind, Seq, Store
from flashsched.schedule.program import Program
from flashsched.te.evaluate import evaluate
from flashsched.te.expr import Expr, Var, compare, const, logical_and

from .small_nests import (
    BLOCK,
    PARALLEL,
    SERIAL,
    VECTORIZE,
    Matmul,
    R,
    S,
    faulty,
    floats,
    index,
    loops,
    same_bits,
    variables,
)

# What a nest means


@settings(max_examples=40)
@given(
    st.tuples(*[st.integers(1, 6)] * 3), st.permutations("ijk"), st.sampled_from([SERIAL, PARALLEL, VECTORIZE, BLOCK])
)
def test_a_matmul_in_any_order_is_numpys(shape: tuple[int, int, int], order: list[str], kind: LoopKind) -> None:
    case = Matmul(*shape)
    assert same_bits(case.run(case.nest("".join(order), i=kind, j=LoopKind.UNROLL)), case.expected())


@settings(max_examples=60)
@given(n=st.integers(0, 40), factor=st.integers(1, 50), ahead=st.booleans())
def test_a_split_with_a_guard_visits_each_element(n: int, factor: int, ahead: bool) -> None:
    a, b = Buffer("A", (n,), "int32"), Buffer("B", (n,), "int32")
    outer, inner, x = variables("o i x")
    value = outer * factor + inner
    block = Block("B", (Iter(x, 0, n, S, value),), (Store(b, (x,), Load(a, (x,)) + 1),), where=(value < n,))
    nest = loops([(outer, -(-n // factor), PARALLEL), (inner, factor)], block)
    if ahead:  # as lowering writes it
        nest = loops(
            [(outer, -(-n // factor)), (inner, factor)],
            If(value < n, Store(b, (value,), Load(a, (value,)) + 1)),
        )
    data = np.arange(n, dtype="int32")
    assert same_bits(interpret_nest(nest, {a: data}, [b])[0], data + 1)


def test_where_is_asked_term_by_term_before_the_variables_are_bound() -> None:
    a, out = Buffer("A", (4,), "int64"), Buffer("out", (4,), "int64")
    i, x = variables("i x")
    where = (i < 4, compare("==", Load(a, (i,)), index(0)))  # the second term may be asked only where the first holds
    block = Block("out", (Iter(x, 0, 4, S, i),), (Store(out, (x,), x),), where=where)
    result = interpret_nest(For(i, index(9), block), {a: np.zeros(4, "int64")}, [out])[0]
    assert result.tolist() == [0, 1, 2, 3]


def test_all_values_are_computed_before_any_is_stored() -> None:
    a, b = Buffer("A", (), "float32"), Buffer("B", (), "float32")
    swap = Block("swap", (), (Store(a, (), Load(b, ())), Store(b, (), Load(a, ()))))
    one, two = np.array(1, "float32"), np.array(2, "float32")
    assert [x.item() for x in interpret_nest(swap, {a: one, b: two}, [a, b])] == [2.0, 1.0]
    assert (one.item(), two.item()) == (1.0, 2.0)  # the arrays given stay as they are


def test_init_runs_where_every_reduce_variable_is_at_its_first_value() -> None:
    out = Buffer("out", (), "int64")
    i, j, x, y = variables("i j x y")
    block = Block(
        "out",
        (Iter(x, 5, 3, R, i + 5), Iter(y, 2, 2, R, j + 2)),
        (Store(out, (), Load(out, ()) + x * y),),
        (Store(out, (), index(1000)),),
    )
    assert interpret_nest(loops([(i, 3), (j, 2)], block), {}, [out])[0] == 1000 + 18 * 5


def test_let_binds_a_value_of_any_dtype_once() -> None:
    a, out = Buffer("A", (4,), "float32"), Buffer("out", (4,), "float32")
    (i,) = variables("i")
    x, at = Var("x", "float32"), Var("at")
    swap = Seq((Store(a, (at,), const(0.0)), Store(out, (at,), x * x + Load(a, (at,)))))
    nest = For(i, index(4), Let(at, 3 - i, Let(x, Load(a, (at,)), swap)), VECTORIZE)
    assert same_bits(interpret_nest(nest, {a: floats(4)}, [out])[0], floats(4) * floats(4))
    faulty(
        For(i, index(4), Let(x, Load(a, (i + 1,)), Store(out, (i,), x))),
        r"x =: reads A\[4\], outside",
        {a: floats(4)},
        out,
    )


def test_extents_may_depend_on_loops_and_on_memory() -> None:
    n, out = Buffer("n", (3,), "int32"), Buffer("out", (3, 4), "int64")
    i, j = variables("i j")
    triangle = For(i, index(3), For(j, Load(n, (i,)).astype("int64") + i, Store(out, (i, j), j * 10 + i)))
    nest = Seq((loops([(i, 3), (j, 4)], Store(out, (i, j), index(-1))), triangle))
    result = interpret_nest(nest, {n: np.array([2, 0, 1], "int32")}, [out])[0]
    assert result.tolist() == [[0, 10, -1, -1], [1, -1, -1, -1], [2, 12, 22, -1]]


def test_if_else_and_an_empty_seq() -> None:
    out = Buffer("out", (6,), "bool")
    (i,) = variables("i")
    nest = For(i, index(6), If(i % 2 == 0, Store(out, (i,), i > 2), Store(out, (i,), const(True))))
    assert interpret_nest(Seq((Seq(()), nest)), {}, [out])[0].tolist() == [False, True, False, True, True, True]


def test_the_side_of_a_select_that_is_not_chosen_is_never_read() -> None:
    a, out = Buffer("A", (4,), "float32"), Buffer("out", (6,), "float32")
    i, x = variables("i x")
    padded = te.select(logical_and(x >= 1, x < 5), Load(a, (x - 1,)), 0.0)
    nest = For(i, index(6), Block("pad", (Iter(x, 0, 6, S, i),), (Store(out, (x,), padded),)))
    assert interpret_nest(nest, {a: floats(4)}, [out])[0].tolist() == [0, *floats(4).tolist(), 0]


def test_memory_is_fresh_at_each_entry_and_may_shadow_nothing() -> None:
    t, out = Buffer("T", (2,), "int64"), Buffer("out", (3,), "int64")
    i, j = variables("i j")
    body = Seq((For(j, index(2), Store(t, (j,), i * 10 + j)), Store(out, (i,), Load(t, (index(1),)))))
    nest = For(i, index(3), Alloc(t, body), PARALLEL)
    assert interpret_nest(nest, {}, [out])[0].tolist() == [1, 11, 21]


def test_deep_nests_and_deep_expressions_meet_no_limit_of_python() -> None:
    out = Buffer("out", (1,), "float32")
    names = [Var(f"i{n}") for n in range(60)]
    total: Expr = names[0]
    value: Expr = const(0.5)
    for name in names[1:] * 3:
        total, value = total + name, (value + 1.0) * 0.5
    nest = loops([(name, 1) for name in names], Store(out, (total,), value))
    assert interpret_nest(nest, {}, [out])[0] == pytest.approx(1.0)


def test_a_program_takes_its_inputs_in_order() -> None:
    a, b, out = (Buffer(name, (2,), "float32") for name in ("A", "B", "out"))
    (i,) = variables("i")
    body = For(i, index(2), Store(out, (i,), Load(a, (i,)) - Load(b, (i,))))
    for params in ((a, b), (a, b, out)):
        program = Program("minus", params, (out,), body)
        assert np.array_equal(interpret(program, [floats(2), floats(2, seed=1)])[0], floats(2) - floats(2, seed=1))


def test_a_matmul_of_32_is_not_too_much() -> None:
    case = Matmul(32, 32, 32)
    case.run(case.nest(i=PARALLEL, j=VECTORIZE))


# Exact dtypes


@pytest.mark.parametrize(
    "dtype",
    ["float64", "float32", "float16", "bfloat16", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint64"],
)
def test_arithmetic_is_done_in_the_exact_dtype(dtype: str) -> None:
    n = 64
    numpy_type = te_dtype(dtype)
    rng = np.random.default_rng(3)
    low, high = (0, 256) if dtype.startswith("uint") else (-128, 128)
    arrays = [rng.integers(low, high, n).astype(numpy_type) for _ in "AB"]
    a, b = Buffer("A", (n,), dtype), Buffer("B", (n,), dtype)
    i, x = variables("i x")
    p, q = Load(a, (x,)), Load(b, (x,))
    one = const(1, dtype)
    exprs = [p + q, p - q, p * q, p // te.maximum(q, one), p % te.maximum(q, one), te.minimum(p, q), te.maximum(p, q)]
    exprs += [te.select(p < q, p, q), te.abs(p), p.astype("int8"), p.astype("float16"), p.astype("bool"), -p]
    exprs += [(p > q).astype(dtype), te.all(p > 0, ~(q > 0)), te.any(p == q, p != 3)]
    if dtype.startswith(("int", "uint")):
        exprs += [p & q, p | q, p ^ q, p << 1, p >> 2, (x.astype(dtype) + p).astype("int16"), x.astype(dtype) * 3 - p]
    else:
        exprs += [
            p / te.maximum(q, one),
            te.exp(p / 64.0),
            te.erf(p / 32.0),
            te.tanh(p),
            te.floor(p),
            te.sqrt(te.abs(p)),
        ]
        exprs += [te.pow(te.abs(p), 0.5), te.atan2(p, q), te.isnan(p / q), te.round(p), te.sigmoid(p)]
    for expr in exprs:
        out = Buffer("out", (n,), expr.dtype)
        nest = For(i, index(n), Block("out", (Iter(x, 0, n, S, i),), (Store(out, (x,), expr),)))
        found = interpret_nest(nest, {a: arrays[0], b: arrays[1]}, [out])[0]

        def load(node: Expr, indices: list[np.ndarray], mask: object) -> np.ndarray:
            assert isinstance(node, Load)
            return arrays[0 if node.buffer is a else 1][tuple(indices)]

        wanted = np.broadcast_to(te_evaluate(expr, {x: np.arange(n)}, load), (n,))
        assert same_bits(found, np.ascontiguousarray(wanted)), str(expr)


def te_dtype(dtype: str) -> np.dtype:
    return np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)


def te_evaluate(expr: Expr, env: dict[Var, np.ndarray], load: Callable[..., np.ndarray]) -> np.ndarray:
    return evaluate(expr, env, load)


def test_integers_wrap_around_as_values() -> None:
    out = Buffer("out", (), "int64")
    big = const(2**62, "int64")
    a = Buffer("A", (), "int64")
    value = Load(a, ()) * 2 + big
    assert interpret_nest(Store(out, (), value), {a: np.array(2**62)}, [out])[0] == -(2**62)


def test_a_read_out_of_bounds_is_named_with_its_loops() -> None:
    case = Matmul(3, 3, 3)
    case.c = Buffer("C", (3, 2), "float32")
    says = r"writes C\[0, 2\], outside its shape \[3, 2\]"
    error = faulty(loops([(v, 3) for v in case.loops], case.block()), says, case.inputs(), case.c)
    assert "at i=0, j=2, k=0" in str(error)
    assert "C(bi=i, bj=j, bk=k)" in str(error)
    assert "small_nests.py:" in str(error)  # the line that called it
    assert isinstance(error, LoweringError)


@pytest.mark.parametrize("at", [-1, 4])
def test_a_load_out_of_bounds_below_or_above(at: int) -> None:
    a, out = Buffer("A", (4,), "float32"), Buffer("out", (), "float32")
    says = rf"reads A\[{at}\], outside its shape \[4\]"
    faulty(Store(out, (), Load(a, (index(at),))), says, {a: floats(4)}, out)


def test_memory_that_was_never_written_is_poison() -> None:
    case = Matmul(2, 2, 2)
    block = replace(case.block(), init=())
    nest = loops([(v, 2) for v in case.loops], block)
    faulty(nest, r"reads C\[0, 0\], which was never written", case.inputs(), case.c)


def test_what_a_turn_left_in_allocated_memory_is_gone_in_the_next() -> None:
    t, out = Buffer("T", (), "int64"), Buffer("out", (3,), "int64")
    (i,) = variables("i")
    body = Seq((If(i == 0, Store(t, (), i)), Store(out, (i,), Load(t, ()))))
    faulty(For(i, index(3), Alloc(t, body)), r"reads T\[\], which was never written \(at i=1\)", {}, out)
    assert interpret_nest(Alloc(t, For(i, index(3), body)), {}, [out])[0].tolist() == [0, 0, 0]


def test_an_output_must_be_written_everywhere() -> None:
    out = Buffer("out", (2, 3), "int64")
    i, j = variables("i j")
    nest = loops([(i, 2), (j, 2)], Store(out, (i, j), i))
    faulty(nest, r"out\[0, 2\] is never written, nor are 1 other", {}, out)


def test_an_iteration_variable_keeps_its_range() -> None:
    case = Matmul(2, 2, 2)
    i, j, k = case.loops
    nest = loops([(i, 2), (j, 3), (k, 2)], case.block())
    error = faulty(nest, r"'bj' is 2, outside 0\.\.2", case.inputs(), case.c)
    assert error.step == "C"
    shifted = case.block([i + 1, j, k])
    faulty(loops([(i, 2), (j, 2), (k, 2)], shifted), r"'bi' is 2, outside 0\.\.2", case.inputs(), case.c)


# Nests that mean nothing


def test_refusals() -> None:
    a, out = Buffer("A", (4,), "float32"), Buffer("out", (4,), "float32")
    i, n, x = variables("i n x")
    copy = Store(out, (i,), Load(a, (i,)))
    data = {a: floats(4)}
    faulty(copy, r"A is float32\[4\], and the array given is float64\[4\]", {a: np.zeros(4)}, out)
    faulty(copy, r"A is float32\[4\], and the array given is float32\[5\]", {a: floats(5)}, out)
    with pytest.raises(LoweringError, match="'i' has no value here; known: none"):
        interpret_nest(copy, data, [out])
    with pytest.raises(LoweringError, match="'i' has no value here; known: x"):  # a block speaks of its own variables
        interpret_nest(For(i, index(4), Block("out", (Iter(x, 0, 4, S, i),), (copy,))), data, [out])
    with pytest.raises(LoweringError, match="'n' has no value"):
        interpret_nest(For(i, n, copy), data, [out])
    with pytest.raises(LoweringError, match="loop 'i' stands inside a loop over the same variable"):
        interpret_nest(loops([(i, 4), (i, 4)], copy), data, [out])
    with pytest.raises(LoweringError, match="out holds float32, and float64 is stored"):
        interpret_nest(For(i, index(4), Store(out, (i,), const(1.0, "float64"))), {}, [out])
    with pytest.raises(LoweringError, match="means nothing in a nest"):
        interpret_nest(For(i, index(4), Store(out, (i,), te.placeholder((4,))[i])), {}, [out])
    faulty(For(i, index(4), Store(out, (index(3) // i,), const(1.0))), r"divides an index by zero \(at i=0\)", {}, out)
    inner = Seq((Alloc(a, Store(a, (index(0),), const(1.0))), Store(out, (index(0),), Load(a, (index(0),)))))
    with pytest.raises(LoweringError, match="A is used outside the memory made for it"):
        interpret_nest(inner, {}, [out])


def test_a_lowered_program_must_allocate_what_it_uses() -> None:
    t, out = Buffer("T", (), "int64"), Buffer("out", (), "int64")
    body = Seq((Store(t, (), index(1)), Store(out, (), Load(t, ()))))
    with pytest.raises(InterpreterError, match="p uses T, which is no parameter and never allocated"):
        interpret(Program("p", (), (out,), body), [])
    assert interpret(Program("p", (), (out,), Alloc(t, body)), [])[0] == 1
    with pytest.raises(InterpreterError, match=r"p takes 0 arrays \(nothing\), and 1 are given"):
        interpret(Program("p", (), (out,), Alloc(t, body)), [floats(1)])


@given(shape=st.lists(st.integers(0, 4), max_size=4))
def test_any_rank_and_empty_dimensions(shape: list[int]) -> None:
    a, out = Buffer("A", tuple(shape), "float32"), Buffer("out", tuple(shape), "float32")
    axes = [Var(f"i{n}") for n in range(len(shape))]
    nest = loops(list(zip(axes, shape, strict=True)), Store(out, tuple(axes), Load(a, tuple(axes)) * 2.0))
    data = floats(*shape)
    assert same_bits(interpret_nest(nest, {a: data}, [out])[0], data * 2)
    assert math.prod(shape) == data.size
