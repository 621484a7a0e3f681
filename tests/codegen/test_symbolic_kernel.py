"""One kernel for many sizes: what it computes, how it finds the sizes, what it says of arrays that do not fit."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashsched import te
from flashsched.codegen.build import build
from flashsched.codegen.kernel import Kernel
from flashsched.errors import KernelError, LoweringError, WorkspaceError

SIZES = st.one_of(st.integers(0, 3), st.sampled_from([7, 8, 16, 17, 31, 32, 64, 67]))


@cache
def matmul() -> Kernel:
    n, m, k = te.var("n"), te.var("m"), te.var("k")
    A, B = te.placeholder((n, k), name="A"), te.placeholder((k, m), name="B")
    r = te.reduce_axis((0, k), name="r")
    C = te.compute((n, m), lambda i, j: te.sum(A[i, r] * B[r, j], axis=r), name="C")
    D = te.compute((n, m), lambda i, j: te.relu(C[i, j] + n.astype("float32")), name="D")
    s = te.create_schedule(D)
    io, jo, _, ji = s[D].tile("i", "j", 4, 16, tail="cut")
    s[C].compute_at(s[D], jo)
    s[C].reorder("r", "i", "j")
    s[C].unroll("i")
    s[C].vectorize("j")
    s[D].vectorize(ji)
    s[D].parallel(io)
    return build(s, [A, B, D], name="matmul")


def arrays(n: int, m: int, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    a, b = rng.integers(-3, 4, (n, k)).astype("float32"), rng.integers(-3, 4, (k, m)).astype("float32")
    return a, b, np.maximum(a @ b + np.float32(n), 0)


@settings(deadline=None)
@given(SIZES, SIZES, SIZES)
def test_one_kernel_computes_what_numpy_does_at_any_size(n: int, m: int, k: int) -> None:
    a, b, wanted = arrays(n, m, k)
    np.testing.assert_array_equal(matmul()(a, b), wanted, strict=True)
    out = np.full((n, m), 7, "float32")
    assert matmul()(a, b, out) is out
    np.testing.assert_array_equal(out, wanted)


@settings(deadline=None)
@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 9))
def test_strided_arrays_share_one_variant_a_pattern(n: int, m: int, k: int) -> None:
    a, b, wanted = arrays(n, m, k)
    wide = np.zeros((n, 2 * k + 3), "float32")
    wide[:, :k] = a
    np.testing.assert_array_equal(matmul()(wide[:, :k], b), wanted)
    np.testing.assert_array_equal(matmul()(np.asfortranarray(a), np.ascontiguousarray(b[::-1])[::-1]), wanted)
    out = np.zeros((m, n), "float32").T
    np.testing.assert_array_equal(matmul()(a, b, out), wanted)
    assert len(matmul().caller.variants) <= 2**4


def test_what_it_shows() -> None:
    assert repr(matmul()) == "<Kernel matmul(A: float32[n, k], B: float32[k, m]) -> D: float32[n, m]>"
    assert "i64 %n_size" in matmul().llvm_ir()
    assert "matmul" in matmul().asm()
    a, b, _ = arrays(8, 8, 8)
    assert matmul().time(a, b, repeat=2, min_time=1e-4).median_s > 0


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ([(3, 4), (5, 2)], "size k is 4 by dimension 1 of 'A', and 5 by dimension 0 of 'B'"),
        ([(3, 4), (4, 2), (3, 3)], "size m is 2 by dimension 1 of 'B', and 3 by dimension 1 of 'D'"),
        ([(3, 4, 1), (4, 2)], r"'A' has shape \(3, 4, 1\), and the kernel takes A: float32\[n, k\]"),
        ([(3, 4)], "takes 2 inputs"),
    ],
)
def test_arrays_that_contradict_each_other_are_refused(given: list[tuple[int, ...]], says: str) -> None:
    with pytest.raises(KernelError, match=says):
        matmul()(*(np.zeros(shape, "float32") for shape in given))
    with pytest.raises(KernelError, match="'A' is a list"):
        matmul()([1.0], np.zeros((1, 1), "float32"))


def test_expressions_are_checked() -> None:
    n = te.var("n")
    A, B = te.placeholder((n,), name="A"), te.placeholder((2 * n + 1,), name="B")
    C = te.compute((n - 2,), lambda i: A[i + 2] + B[2 * i], name="C")
    f = build(te.create_schedule(C), [A, B, C])
    a, b = np.arange(5, dtype="float32"), np.arange(11, dtype="float32")
    np.testing.assert_array_equal(f(a, b), a[2:] + b[:6:2])
    with pytest.raises(KernelError, match=r"'B' has shape \(9,\), and the kernel takes \(11,\), that is B: .* n = 5"):
        f(a, b[:9].copy())
    with pytest.raises(KernelError, match="a dimension inside the kernel is n - 2, and would be -1"):
        f(a[:1].copy(), b[:3].copy())


def test_a_size_that_only_the_output_has_needs_the_output() -> None:
    n = te.var("n")
    C = te.compute((n,), lambda i: i * n, name="C")
    f = build(te.create_schedule(C), [C])
    np.testing.assert_array_equal(f(np.zeros(5, np.int64)), np.arange(5) * 5)
    with pytest.raises(KernelError, match="size n can't be told"):
        f()


def test_sizes_beyond_32_bits_do_not_wrap() -> None:
    n = te.var("n", "int32")
    A = te.placeholder((n,), "int8", name="A")
    C = te.compute((2,), lambda i: A[n - 1 - i].astype("int64") + n, name="C")
    f = build(te.create_schedule(C), [A, C])
    size = 2**31 + 9
    a = np.zeros(size, np.int8)  # not touched, so the system gives no memory for it
    a[-1] = 5
    np.testing.assert_array_equal(f(a), [size + 5, size])


def outer_product(parallel: bool) -> tuple[Kernel, np.ndarray]:
    n = te.var("n")
    A = te.placeholder((n,), name="A")
    P = te.compute((n, n), lambda i, j: A[i] * A[j], name="P")
    C = te.compute((n,), lambda i: P[i, n - 1 - i] + P[n - 1 - i, i], name="C")
    Q = te.compute((4, n, n), lambda q, i, j: A[i] * A[j] + q.astype("float32"), name="Q")
    D = te.compute((4,), lambda q: te.select(n > 2, Q[q, te.minimum(q, n - 1), 1] + Q[q, 1, 2], 0.0), name="D")
    s = te.create_schedule([C, D])
    if parallel:
        s[C].parallel("i")
        s[D].parallel("q")
        s[Q].compute_at(s[D], "q")  # a workspace of each thread
    return build(s, [A, C, D]), np.arange(5, dtype="float32")


@pytest.mark.parametrize("parallel", [False, True])
def test_a_workspace_that_is_not_to_be_had_is_an_error(parallel: bool) -> None:
    f, a = outer_product(parallel)
    np.testing.assert_array_equal(f(a)[0], 2 * a * a[::-1])
    large = np.zeros(1 << 22, "float32")
    for call in (lambda: f(large), lambda: f.time(large)):
        with pytest.raises(WorkspaceError, match="needs 70368744177664 bytes") as raised:
            call()
        assert isinstance(raised.value, MemoryError)
    np.testing.assert_array_equal(f(a)[0], 2 * a * a[::-1])


def test_each_thread_that_lacks_memory_says_so() -> None:
    n = te.var("n")
    A = te.placeholder((n,), name="A")
    Q = te.compute((4, n, n), lambda q, i, j: A[i] * A[j] + q.astype("float32"), name="Q")
    k = te.reduce_axis((0, n), name="k")
    D = te.compute((4,), lambda q: te.sum(Q[q, k, 0] + Q[q, 0, k], axis=k), name="D")
    s = te.create_schedule(D)
    s[D].parallel("q")
    s[Q].compute_at(s[D], "q")
    f = build(s, [A, D])
    a = np.arange(3, dtype="float32")
    np.testing.assert_array_equal(f(a), [0, 6, 12, 18])
    with pytest.raises(WorkspaceError, match="needs 70368744177664 bytes"):
        f(np.zeros(1 << 22, "float32"))


def test_a_constant_workspace_that_is_not_to_be_had_is_an_error() -> None:
    A = te.placeholder((4,), name="A")
    P = te.compute((1 << 40, 4), lambda i, j: A[j] + 1, name="P")
    C = te.compute((4,), lambda i: P[i * 3, i] + P[(1 << 40) - 1, i], name="C")
    f = build(te.create_schedule(C), [A, C])
    with pytest.raises(WorkspaceError, match="needs 17592186044416 bytes"):
        f(np.zeros(4, "float32"))


def test_a_workspace_of_more_bytes_than_there_are_numbers_is_an_error() -> None:
    n = te.var("n")
    A = te.placeholder((n,), "int8", name="A")
    P = te.compute((n, n, n), lambda i, j, k: A[i] + A[j] + A[k], name="P")
    C = te.compute((1,), lambda i: P[n - 1, 0, 0] + P[0, n - 1, n - 1], name="C")
    with pytest.raises(WorkspaceError):
        build(te.create_schedule(C), [A, C])(np.zeros(1 << 22, np.int8))  # 2**66 bytes


def test_a_size_that_no_array_can_tell_is_refused_at_the_call() -> None:
    n, m = te.var("n"), te.var("m")
    A = te.placeholder((n * m,), name="A")
    C = te.compute((n,), lambda i: A[i * m], name="C")
    with pytest.raises(KernelError, match="size m can't be told from the arrays"):
        build(te.create_schedule(C), [A, C])(np.zeros(4, "float32"))


def test_models_and_vector_loops_ask_for_numbers() -> None:
    from flashsched.codegen.analysis.works import simulate
    from flashsched.hw import devices

    n = te.var("n")
    A = te.placeholder((n,), name="A")
    C = te.compute((n,), lambda i: A[i] + 1, name="C")
    s = te.create_schedule(C)
    with pytest.raises(LoweringError, match="holds for any n, and only numbers can be measured") as raised:
        simulate(s, devices["a100-sim"])
    assert "s.bind_sizes({n: 512})" in str(raised.value)
    assert simulate(s.bind_sizes({n: 512}), devices["a100-sim"]).time_s > 0
