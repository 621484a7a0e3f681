"""Extern stages: arrays go in, arrays come out, and what goes wrong in between is told to the caller."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flashsched as fs
from flashsched import te
from flashsched.codegen.extern_nest import extern_nest
from flashsched.codegen.interpreter import interpret
from flashsched.codegen.lower import lower, program_of
from flashsched.errors import (
    DtypeError,
    ExpressionError,
    KernelError,
    LoweringError,
    ShapeError,
    StructureError,
    TuneError,
)
from flashsched.schedule.external import nest_over
from flashsched.schedule.ir import Buffer, For, Load, Store
from flashsched.te.evaluate import run_graph
from flashsched.te.expr import Var, const
from flashsched.te.tensor import Tensor
from flashsched.testing.checks import check_meaning, check_round_trip


def cumulate(a: Any, out: Any) -> None:
    out[...] = np.cumsum(a, axis=0)


def program(m: int, n: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A, ``P = A + 1``, E: P's running sums by a Python function, and ``C = 2 E + P``."""
    A = te.placeholder((m, n), name="A")
    P = te.compute((m, n), lambda i, j: A[i, j] + 1, name="P")
    E = te.extern((m, n), [P], cumulate, name="E")
    return A, P, E, te.compute((m, n), lambda i, j: E[i, j] * 2 + P[i, j], name="C")


@settings(max_examples=40, deadline=None)
@given(m=st.sampled_from([0, 1, 2, 7, 13]), n=st.sampled_from([0, 1, 3, 8]), factor=st.integers(1, 5), data=st.data())
def test_what_stands_around_it_is_scheduled_as_ever(m: int, n: int, factor: int, data: st.DataObject) -> None:
    _, P, E, C = program(m, n)
    s = te.create_schedule(C)
    copy = s.cache_read(E, "local", [C]) if data.draw(st.booleans()) else None
    if data.draw(st.booleans()):
        s.cache_read(P, "global", [E])
    outer, inner = s[C].split("i", factor=factor, tail=data.draw(st.sampled_from(["guard", "cut"])))
    if copy is not None:
        s[copy].compute_at(s[C], data.draw(st.sampled_from([outer, inner])))
    s[C].parallel(outer)
    s[P].vectorize("j")
    s[P].parallel("i")
    check_meaning(s, compiled=True)
    check_round_trip(s)


def test_how_it_prints() -> None:
    *_, C = program(4, 3)
    s = te.create_schedule(C)
    assert "E = extern cumulate(P)\n" in str(s)
    assert "  E = extern cumulate(P)\n" in str(fs.lower(s))
    assert "call i32 @fs_extern_0(ptr" in fs.build(s).llvm_ir()


def test_several_outputs_of_several_types_and_an_input_twice() -> None:
    A = te.placeholder((6,), name="A")

    def split(a: Any, again: Any, low: Any, at: Any) -> tuple[Any, Any]:
        low[...] = np.sort(a + again)[:4]
        at[...] = np.argmax(a)
        return low, at

    low, at = te.extern([(4,), ()], [A, A], split, dtype=["float32", "int64"], name="E")
    assert (low.shape, low.dtype, at.shape, at.dtype) == ((4,), "float32", (), "int64")
    C = te.compute((4,), lambda i: low[i] + at[()].astype("float32"), name="C")
    s = te.create_schedule([C, low])
    check_meaning(s, compiled=True)
    a = np.array([3, 1, 5, 2, 0, 4], "float32")
    np.testing.assert_array_equal(fs.build(s, [A, C, low])(a)[0], [2, 4, 6, 8])


def test_arguments_that_are_not_contiguous() -> None:
    A = te.placeholder((4, 5), name="A")
    E = te.extern((4, 5), A, cumulate, name="E")
    kernel = fs.build(te.create_schedule(E), [A, E])
    a, out = np.arange(40, dtype="float32").reshape(5, 8)[:, ::2].T, np.zeros((4, 10), "float32")
    kernel(a, out[:, ::2])
    np.testing.assert_array_equal(out[:, ::2], np.cumsum(a, axis=0))
    assert not out[:, 1::2].any()


def test_another_kernel() -> None:
    A = te.placeholder((64,), name="A")
    D = te.compute((64,), lambda i: A[i] * 3, name="D")
    s = te.create_schedule(D)
    s[D].parallel("i")
    inner = fs.build(s, [A, D])
    E = te.extern((64,), [A], inner, name="E")
    C = te.compute((64,), lambda i: E[i] + 1, name="C")
    s = te.create_schedule(C)
    s[C].parallel("i")
    np.testing.assert_array_equal(fs.build(s, [A, C])(np.ones(64, "float32")), np.full(64, 4, "float32"))


class BrokenError(Exception):
    pass


@pytest.mark.parametrize("error", [BrokenError("no"), KeyboardInterrupt(), StopIteration(3)])
@pytest.mark.parametrize("size", [4, 100_000])
def test_what_it_raises_reaches_the_caller_and_the_kernel_goes_on_living(error: BaseException, size: int) -> None:
    fails = [True]

    def function(a: Any, out: Any) -> None:
        if fails[0]:
            raise error
        out[...] = a

    A = te.placeholder((size,), name="A")
    P = te.compute((size,), lambda i: A[i] + 1, name="P")
    E = te.extern((size,), P, function, name="E")
    after: list[int] = []
    F = te.extern((size,), E, lambda e, out: after.append(1), name="F")  # must not run after E failed
    C = te.compute((size,), lambda i: F[i] + E[i], name="C")
    kernel = fs.build(te.create_schedule(C), [A, C])
    a = np.zeros(size, "float32")
    for run in (lambda: kernel(a), lambda: kernel.time(a), lambda: kernel(a)):
        with pytest.raises(type(error)) as caught:
            run()
        assert caught.value is error
    assert not after
    fails[0] = False
    kernel(a)
    assert after


def test_threads_do_not_take_each_others_errors() -> None:
    A = te.placeholder((1,), name="A")

    def function(a: Any, out: Any) -> None:
        if a[0] < 0:
            raise BrokenError(str(a[0]))
        out[...] = a

    kernel = fs.build(te.create_schedule(te.extern((1,), A, function, name="E")))
    wrong: list[object] = []

    def work(value: float) -> None:
        for _ in range(50):
            try:
                found = kernel(np.full(1, value, "float32"))[0]
                if value < 0 or found != value:
                    wrong.append(found)
            except BrokenError as error:
                if value >= 0 or str(error) != str(np.float32(value)):
                    wrong.append(error)

    threads = [threading.Thread(target=work, args=(v,)) for v in (-1.0, 2.0, -3.0, 4.0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_an_array_that_is_kept_is_told() -> None:
    kept: list[Any] = []
    A = te.placeholder((3,), name="A")

    def function(a: Any, out: Any) -> None:
        out[...] = a
        kept.append(a[:2])

    kernel = fs.build(te.create_schedule(te.extern((3,), A, function, name="E")))
    with pytest.raises(KernelError, match="its function keeps A, whose memory ends with the call"):
        kernel(np.zeros(3, "float32"))


def test_inputs_are_read_only_and_results_are_not_lost() -> None:
    A = te.placeholder((3,), name="A")

    def writes(a: Any, out: Any) -> None:
        a[0] = 1

    with pytest.raises(ValueError, match="read-only"):
        fs.build(te.create_schedule(te.extern((3,), A, writes, name="E")))(np.zeros(3, "float32"))
    E = te.extern((3,), A, lambda a, out: a + 1, name="E")
    with pytest.raises(KernelError, match="its function returned ndarray, which nobody sees"):
        fs.build(te.create_schedule(E))(np.zeros(3, "float32"))
    with pytest.raises(KernelError, match="returned ndarray"):
        run_graph([E], {A: np.zeros(3, "float32")})


def test_the_text_names_no_address() -> None:
    def kernel(function: Any) -> Any:
        A = te.placeholder((3,), name="A")
        return fs.build(te.create_schedule(te.extern((3,), A, function, name="E")))

    def one(a: Any, out: Any) -> None:
        out[...] = 1

    def two(a: Any, out: Any) -> None:
        out[...] = 2

    a, b = kernel(one), kernel(two)
    assert a.llvm_ir() == b.llvm_ir()
    x = np.zeros(3, "float32")
    assert [a(x)[0], b(x)[0], a(x)[0]] == [1, 2, 1]


def test_a_nest_that_is_given() -> None:
    X, Y = Buffer("X", (9,), "float32"), Buffer("Y", (9,), "float32")
    i = Var("i")
    A = te.placeholder((9,), name="A")
    P = te.compute((9,), lambda k: A[k] + 1, name="P")
    reverse = For(i, const(9, "int64"), Store(Y, (8 - i,), Load(X, (i,))))
    (E,) = extern_nest([(9,)], [P], nest_over(reverse, [X], [Y]), ["float32"], name="E")
    C = te.compute((9,), lambda k: E[k] * 2, name="C")
    s = te.create_schedule(C)
    s[C].vectorize("k")
    check_meaning(s, compiled=True)
    assert "E[8 - i] = P[i]" in str(fs.lower(s))
    a = np.arange(9, dtype="float32")
    np.testing.assert_array_equal(fs.build(s)(a), (a + 1)[::-1] * 2)


def test_a_schedule_sees_no_loops_in_it() -> None:
    _, P, E, C = program(4, 3)
    s = te.create_schedule(C)
    assert s[E].op.axis == ()
    for refused, message in (
        (lambda: s[E].compute_at(s[C], "i"), "'E' is an extern stage: its function fills whole arrays"),
        (lambda: s[E].compute_inline(), "so it can't be inlined"),
        (lambda: s.cache_write(E, "local"), "so it can't be computed elsewhere"),
        (lambda: s[E].transform_layout(lambda i, j: (j, i)), "so it can't be stored in another order"),
        (lambda: s[P].compute_inline(), "the extern stage 'E' reads 'P', an array in memory, so it can't be inlined"),
        (lambda: s[P].transform_layout(lambda i, j: (j, i)), "the extern stage 'E' reads 'P'"),
    ):
        with pytest.raises(StructureError, match=message):
            refused()
    with pytest.raises(fs.ScheduleError, match="no loop named 'i'; stage 'E' has none"):
        s[E].split("i", factor=2)


def test_what_stores_no_code_refuses_it() -> None:
    A, _, _, C = program(4, 3)
    with pytest.raises(TuneError, match="E is an extern stage: a log stores decisions, never code"):
        fs.Task.from_te([A, C])
    with pytest.raises(LoweringError, match="'E' is an extern stage, and what its function does can't be measured"):
        fs.simulate(te.create_schedule(C), device="a100-sim")


def test_refusals() -> None:
    A, B = te.placeholder((4,), name="A"), te.placeholder((4,), "int32", name="B")
    with pytest.raises(ShapeError, match="sizes that are numbers from 0 up, and -1"):
        te.extern((-1,), A, cumulate)
    with pytest.raises(ShapeError, match="has 2 shapes and 1 dtypes"):
        te.extern([(1,), (2,)], A, cumulate, dtype=["int32"])
    with pytest.raises(DtypeError, match="which dtype has the output"):
        te.extern((4,), [A, B], cumulate)
    with pytest.raises(DtypeError, match="no dtype 'float33'"):
        te.extern((4,), A, cumulate, dtype="float33")
    with pytest.raises(ExpressionError, match="3 is no tensor"):
        te.extern((4,), [A, 3], cumulate)
    with pytest.raises(ExpressionError, match="5 can't be called"):
        te.extern((4,), A, 5)  # type: ignore[arg-type]


# -- sizes that are known when the kernel is called


def test_of_any_size() -> None:
    n, m = te.var("n"), te.var("m")
    A = te.placeholder((n, m), name="A")

    def sums(a: np.ndarray, rows: np.ndarray, running: np.ndarray) -> None:
        assert a.shape == running.shape
        rows[...] = a.sum(1)
        running[...] = a.cumsum(0)

    P = te.compute((n, m), lambda i, j: A[i, j] + 1, name="P")
    R, S = te.extern([(n,), (n, m)], [P], sums, dtype="float32", name="E")
    C = te.compute((n, m), lambda i, j: R[i] * S[n - 1 - i, j], name="C")
    s = te.create_schedule([C, S])
    s[C].vectorize(s[C].split("j", factor=4)[1])
    s[C].parallel("i")
    s[P].storage_align(0, 8, 1)
    kernel, checked = fs.build(s), fs.build(s, specialize=[{n: 3}])
    for shape in [(1, 1), (3, 5), (13, 7), (0, 4), (3, 0)]:
        a = np.random.default_rng(0).integers(-3, 4, shape).astype("float32")
        wanted = run_graph([C, S], {A: a})
        np.testing.assert_array_equal(wanted[0], (a + 1).sum(1)[:, None] * (a + 1).cumsum(0)[::-1])
        lowered = interpret(lower(s), [a])
        for found in (kernel(a), checked(a), kernel(a.T.copy().T), interpret(program_of(s), [a]), lowered):
            for ours, theirs in zip(found, wanted, strict=True):
                np.testing.assert_array_equal(ours, theirs)
    check_round_trip(s)
    np.testing.assert_array_equal(
        fs.build(s.bind_sizes({n: 2, m: 3}))(np.ones((2, 3), "float32"))[1], [[2] * 3, [4] * 3]
    )


def test_strided_arrays_of_any_size() -> None:
    n = te.var("n")
    A = te.placeholder((n, n), "int32", name="A")
    B = te.extern((n - 1,), [A], lambda a, out: np.copyto(out, a[1:, 0]), name="B")
    kernel = fs.build(te.create_schedule(B))
    a = np.arange(144, dtype="int32").reshape(12, 12)
    for view in (a, a.T, a[::-1], a[::2, ::2], a[::-3, ::-3], a[:1, :1]):
        np.testing.assert_array_equal(kernel(view), view[1:, 0])
    with pytest.raises(KernelError, match="is n - 1, and would be -1"):
        kernel(a[:0, :0])


def test_sizes_that_are_none() -> None:
    n, A = te.var("n"), te.placeholder((4,), name="A")
    with pytest.raises(ShapeError, match="is made of numbers and of sizes"):
        te.extern((n + A[0],), [A], lambda a, out: None)
    B = te.extern((n - 2,), [A], lambda a, out: None, name="B")
    C = te.compute((4,), lambda i: A[i] + B[i % 2], name="C")
    with pytest.raises(KernelError, match="a dimension inside the kernel is n - 2, and would be -1"):
        fs.build(te.create_schedule(C), [n, A, C])(1, np.ones(4, "float32"))
