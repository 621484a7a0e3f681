"""extern_op and the ir_builder: stages by registered functions, by loops written out, by functions in machine code."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from flashsched.compat import tvm
from flashsched.compat.tvm import te
from flashsched.compat.tvm.contrib import cblas
from flashsched.errors import DtypeError, ExpressionError, KernelError, LoweringError, ShapeError, StructureError

RNG = np.random.default_rng(0)
N, L, M = 20, 12, 15


def call(out: Any, args: list[Any], *inputs: Any) -> Any:
    s = te.create_schedule(out.op)
    module = tvm.build(s, [*args, out], "llvm", name="main")
    result = tvm.nd.empty(tuple(map(int, out.shape)), out.dtype)
    module(*(x if isinstance(x, float) else tvm.nd.array(x) for x in inputs), result)
    return result.numpy()


@pytest.mark.parametrize("by", ["hand", "module"])
def test_the_tutorials_blas(by: str) -> None:
    A = te.placeholder((N, L), name="A")
    B = te.placeholder((L, M), name="B")
    bias = te.var("bias", dtype="float32")
    C = (
        cblas.matmul(A, B)
        if by == "module"
        else te.extern(
            (N, M),
            [A, B],
            lambda ins, outs: tvm.tir.call_packed("tvm.contrib.cblas.matmul", ins[0], ins[1], outs[0], False, False),
            name="C",
        )
    )
    D = te.compute(C.shape, lambda i, j: C[i, j] + bias, name="D")
    a, b = RNG.random((N, L), "float32"), RNG.random((L, M), "float32")
    found = call(D, [A, B, bias], a, b, 10.0)
    tvm.testing.assert_allclose(found, a @ b + 10, rtol=1e-5)


def test_a_python_function_as_a_tensor_function() -> None:
    seen = []

    @tvm.register_func("tests.compat.addone", override=True)
    def my_tvm_addone(x: Any, y: Any) -> None:
        seen.append((type(x), type(y)))
        tvm.nd.array(x.numpy() + 1).copyto(y)

    A = te.placeholder((N,), name="A")
    B = te.extern(A.shape, [A], lambda ins, outs: tvm.tir.call_packed("tests.compat.addone", ins[0], outs[0]), name="C")
    s = te.create_schedule(B.op)
    f = tvm.build(s, [A, B], "llvm")
    a = tvm.nd.array(np.random.uniform(size=(N,)).astype(A.dtype), tvm.cpu(0))
    b = tvm.nd.array(np.random.uniform(size=(N,)).astype(B.dtype), tvm.cpu(0))
    f(a, b)
    tvm.testing.assert_allclose(b.numpy(), a.numpy() + 1, rtol=1e-5)
    assert seen == [(tvm.nd.NDArray, tvm.nd.NDArray)]
    with pytest.raises(KernelError, match="calls a Python function, which no file can hold"):
        f.save("nowhere.o")


def test_what_the_function_raises_arrives() -> None:
    @tvm.register_func("tests.compat.fails", override=True)
    def fails(x: Any, y: Any) -> None:
        raise ValueError("no such thing")

    A = te.placeholder((N,), name="A")
    B = te.extern((N,), [A], lambda ins, outs: tvm.tir.call_packed("tests.compat.fails", ins[0], outs[0]))
    with pytest.raises(ValueError, match="no such thing"):
        call(B, [A], np.zeros(N, "float32"))
    C = te.extern((N,), [A], lambda ins, outs: tvm.tir.call_packed("tests.compat.unknown", ins[0], outs[0]))
    with pytest.raises(KernelError, match=r"no function is registered as 'tests\.compat\.unknown'"):
        call(C, [A], np.zeros(N, "float32"))
    with pytest.raises(ExpressionError, match="a call or a statement is needed"):
        te.extern((N,), [A], lambda ins, outs: 3)


def test_several_outputs_by_loops() -> None:
    A = te.placeholder((N,), name="A")

    def body(ins: Any, outs: Any) -> Any:
        ib = tvm.tir.ir_builder.create()
        a, low, high = ib.buffer_ptr(ins[0]), ib.buffer_ptr(outs[0]), ib.buffer_ptr(outs[1])
        with ib.for_range(0, N, name="i") as i:
            with ib.if_scope(a[i] < 0.5):
                low[i] = a[i]
                high[i] = tvm.tir.const(0.0, "float32")
            with ib.else_scope():
                low[i] = 0.0
                high[i] = a[i] * 2.0
        return ib.get()

    low, high = te.extern([(N,), (N,)], [A], body, name="parts", dtype=["float32", "float32"])
    S = te.compute((N,), lambda i: low[i] + high[i], name="S")
    a = RNG.random(N, "float32")
    np.testing.assert_array_equal(call(S, [A], a), np.where(a < 0.5, a, a * 2))


@pytest.mark.parametrize("kind", ["serial", "parallel", "vectorize", "unroll"])
def test_kinds_of_loops(kind: str) -> None:
    A = te.placeholder((4, 6), name="A")

    def body(ins: Any, outs: Any) -> Any:
        ib = tvm.tir.ir_builder.create()
        a, out = ib.buffer_ptr(ins[0]), ib.buffer_ptr(outs[0])
        with ib.for_range(0, 4, name="i") as i, ib.for_range(0, 6, name="j", kind=kind) as j:
            out[i, j] = a[i * 6 + j] * (i * 10 + j).astype("float32")  # by one index as well
        return ib.get()

    B = te.extern((4, 6), [A], body, name="B")
    a = RNG.random((4, 6), "float32")
    i, j = np.mgrid[:4, :6]
    tvm.testing.assert_allclose(call(B, [A], a), a * (i * 10 + j), rtol=1e-6)


def test_cumulative_sum_and_bubble_sort() -> None:
    A = te.placeholder((N,), "int32", name="A")

    def cumsum(ins: Any, outs: Any) -> Any:
        ib = tvm.tir.ir_builder.create()
        a, out = ib.buffer_ptr(ins[0]), ib.buffer_ptr(outs[0])
        total = ib.allocate("int32", 1, name="total", scope="local")
        total[0] = 0
        with ib.for_range(0, N) as i:
            total[0] = total[0] + a[i]
            out[i] = total[0]
        return ib.get()

    def sort(ins: Any, outs: Any) -> Any:
        ib = tvm.tir.ir_builder.create()
        a, out = ib.buffer_ptr(ins[0]), ib.buffer_ptr(outs[0])
        with ib.for_range(0, N) as i:
            out[i] = a[i]
        with ib.for_range(1, N, name="n") as n, ib.for_range(0, N - n, name="j") as j:
            left, right = ib.let("left", out[j]), ib.let("right", out[j + 1])
            with ib.if_scope(left > right):
                out[j] = right
                out[j + 1] = left
        return ib.get()

    a = RNG.integers(-50, 50, N).astype("int32")
    np.testing.assert_array_equal(call(te.extern((N,), [A], cumsum, name="S"), [A], a), a.cumsum())
    np.testing.assert_array_equal(call(te.extern((N,), [A], sort, name="T"), [A], a), np.sort(a))


def test_index_as_value_and_vstore() -> None:
    A = te.placeholder((N,), "int64", name="A")

    def body(ins: Any, outs: Any) -> Any:
        ib = tvm.tir.ir_builder.create()
        with ib.for_range(0, N, name="i") as i:
            ib.emit(outs[0].vstore(i, ins[0].vload(i) + i))
        return ib.get()

    a = RNG.integers(-50, 50, N)
    np.testing.assert_array_equal(call(te.extern((N,), [A], body), [A], a), a + np.arange(N))


def test_a_c_function_with_addresses() -> None:
    A = te.placeholder((N,), name="A")
    B = te.extern(
        (N,),
        [A],
        lambda ins, outs: tvm.tir.call_extern(
            "handle", "memcpy", outs[0].access_ptr("w"), ins[0].access_ptr("r"), tvm.tir.const(4 * N, "int64")
        ),
        name="B",
    )
    a = RNG.random(N, "float32")
    np.testing.assert_array_equal(call(B, [A], a), a)


def test_a_loop_that_ends_when_it_is_done() -> None:
    """A search that halves, one for each thread; loops in it and around it do not end with it."""
    A, K = te.placeholder((N,), "int32", name="A"), te.placeholder((7,), "int32", name="K")

    def search(ins: Any, outs: Any) -> Any:
        ib = tvm.tir.ir_builder.create()
        a, k, found = ib.buffer_ptr(ins[0]), ib.buffer_ptr(ins[1]), ib.buffer_ptr(outs[0])
        with ib.for_range(0, 7, name="i", kind="parallel") as i:
            low = ib.allocate("int32", (1,), name="low", scope="local")
            high = ib.allocate("int32", (1,), name="high", scope="local")
            low[0], high[0] = 0, N
            with ib.while_loop(low[0] < high[0]):
                middle = ib.let("middle", (low[0] + high[0]) // 2)
                with ib.if_scope(a[middle] < k[i]):
                    low[0] = middle + 1
                with ib.else_scope():
                    high[0] = middle
            found[i] = low[0]
        return ib.get()

    B = te.extern((7,), [A, K], search, name="B", dtype="int32")
    a, k = np.sort(RNG.integers(-50, 50, N)).astype("int32"), np.array([-99, -20, -1, 0, 7, 49, 99], "int32")
    np.testing.assert_array_equal(call(B, [A, K], a, k), np.searchsorted(a, k))
    assert "if not low[0] < high[0]:\n        break" in str(tvm.lower(te.create_schedule(B.op), [A, K, B]))


def test_loops_that_end_early_in_each_other() -> None:
    A = te.placeholder((3,), "int32", name="A")

    def steps(ins: Any, outs: Any) -> Any:
        """How often each number is halved, or made three times as large and one more, before it is 1."""
        ib = tvm.tir.ir_builder.create()
        a, count = ib.buffer_ptr(ins[0]), ib.buffer_ptr(outs[0])
        held = ib.allocate("int32", (2,), name="held")
        held[0] = 0
        with ib.while_loop(held[0] < 3):
            count[held[0]] = 0
            held[1] = a[held[0]]
            with ib.while_loop(held[1] != 1):
                even = held[1] % 2 == 0
                held[1] = tvm.tir.Select(even, held[1] // 2, held[1] * 3 + 1)
                with ib.for_range(0, 4) as j, ib.if_scope(j == 2):
                    count[held[0]] = count[held[0]] + 1
            held[0] = held[0] + 1
        return ib.get()

    B = te.extern((3,), [A], steps, name="B", dtype="int32")
    np.testing.assert_array_equal(call(B, [A], np.array([1, 7, 27], "int32")), [0, 16, 111])


def test_a_loop_that_ends_early_is_no_lane() -> None:
    A = te.placeholder((8,), "int32", name="A")

    def lanes(ins: Any, outs: Any) -> Any:
        ib = tvm.tir.ir_builder.create()
        a, b = ib.buffer_ptr(ins[0]), ib.buffer_ptr(outs[0])
        with ib.for_range(0, 8, kind="vectorize") as i:
            b[i] = 0
            with ib.while_loop(b[i] < a[i]):
                b[i] = b[i] + 1
        return ib.get()

    B = te.extern((8,), [A], lanes, name="B", dtype="int32")
    with pytest.raises(
        LoweringError, match=r"(?s)ends early stands in the lanes of a vector.*loop around it be serial"
    ):
        tvm.build(te.create_schedule(B.op), [A, B])


def counts(ib: Any, x: Any) -> None:
    with ib.for_range(0, 10) as _, ib.if_scope(x[0] < 5):
        x[0] = x[0] + 1


def asks_again(ib: Any, x: Any) -> None:
    low = x[0] < 5
    with ib.if_scope(low):
        x[0] = 9
    with ib.if_scope(low):
        x[1] = 1


def asks_again_inside(ib: Any, x: Any) -> None:
    low = x[0] < 5
    with ib.if_scope(low):
        x[0] = 9
        with ib.if_scope(low):
            x[1] = 1
        with ib.else_scope():
            x[2] = 1


def asks_what_it_made(ib: Any, x: Any) -> None:
    own = ib.allocate(x.dtype, (2,), name="own")
    own[0] = 3
    with ib.if_scope(own[0] < 5):
        x[1] = own[0]


def asks_in_no_turn(ib: Any, x: Any) -> None:
    with ib.for_range(0, x[2]) as _, ib.if_scope(x[x[3] * 1_000_000_000] < 5):
        x[0] = 1


@pytest.mark.parametrize("dtype", ["int32", "int64"])
@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        (counts, [5, 0, 0, 7]),
        (asks_again, [9, 0, 0, 7]),
        (asks_again_inside, [9, 0, 1, 7]),
        (asks_what_it_made, [0, 3, 0, 7]),
        (asks_in_no_turn, [0, 0, 0, 7]),
    ],
)
def test_a_condition_on_memory_is_asked_where_it_stands(body: Any, wanted: list[int], dtype: str) -> None:
    A = te.placeholder((4,), dtype, name="A")

    def loops(ins: Any, outs: Any) -> Any:
        ib = tvm.tir.ir_builder.create()
        x, y = ib.buffer_ptr(outs[0]), ib.buffer_ptr(ins[0])
        with ib.for_range(0, 4) as i:
            x[i] = y[i]
        body(ib, x)
        return ib.get()

    B = te.extern((4,), [A], loops, name="B", dtype=dtype)
    np.testing.assert_array_equal(call(B, [A], np.array([0, 0, 0, 7], dtype)), wanted)


def test_refusals() -> None:
    ib = tvm.tir.ir_builder.create()
    buffer = tvm.tir.decl_buffer((4, 4), "float32", name="X")
    x = ib.buffer_ptr(buffer)
    with pytest.raises(StructureError, match="stands behind no if_scope"), ib.else_scope():
        pass
    with pytest.raises(StructureError, match="no kind of loop 'fast'"), ib.for_range(0, 4, kind="fast"):
        pass
    with pytest.raises(ShapeError, match="has 2 dimensions, and 3 indices"):
        x[0, 0, 0]
    with pytest.raises(DtypeError, match="holds float32, and the value stored is int32"):
        x[0, 0] = tvm.tir.const(1, "int32")
    with ib.for_range(0, 4) as i:
        x[i, i] = 1.0
        with pytest.raises(StructureError, match="still open"):
            ib.get()


def test_functions_and_loops_of_any_size() -> None:
    n = te.var("n")
    A = te.placeholder((n,), name="A")

    @tvm.register_func("tests.compat.sort", override=True)
    def sort(x: Any, y: Any) -> None:
        tvm.nd.array(np.sort(x.numpy())).copyto(y)

    def loops(ins: Any, outs: Any) -> Any:
        ib = tvm.tir.ir_builder.create()
        x, y = ib.buffer_ptr(ins[0]), ib.buffer_ptr(outs[0])
        with ib.for_range(0, n, name="i") as i:
            y[i] = x[i] + 1
        return ib.get()

    B = te.extern(A.shape, [A], lambda ins, outs: tvm.tir.call_packed("tests.compat.sort", ins[0], outs[0]), name="B")
    C = te.extern(A.shape, [B], loops, name="C", dtype="float32")
    module = tvm.build(te.create_schedule(C.op), [A, C])
    for size in (1, 7, 0):
        a = np.random.default_rng(0).random(size, "float32")
        out = tvm.nd.empty((size,))
        module(tvm.nd.array(a), out)
        np.testing.assert_array_equal(out.numpy(), np.sort(a) + 1)
