"""The intrinsics of x86 that come with flashsched: what they compute, in whole products, and the instruction itself."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

import flashsched as fs
from flashsched import te
from flashsched.codegen.interpreter import interpret
from flashsched.codegen.lower import program_of
from flashsched.codegen.target import host_target
from flashsched.schedule.intrinsic import find_intrinsic
from flashsched.schedule.intrinsics import FMA
from flashsched.testing.checks import check_meaning, check_round_trip

BF16 = np.dtype(ml_dtypes.bfloat16)
VNNI = {"uint8": "x86.vnni.u8s8x16", "int8": "x86.vnni.s8s8x16"}


def needs(name: str) -> None:
    lacking = [feature for feature in find_intrinsic(name).features if not host_target().has(feature)]
    if lacking:
        pytest.skip(f"this CPU lacks {', '.join(lacking)}; the meaning is checked by the interpreter all the same")


def product(m: int, n: int, depth: int, types: tuple[str, str, str], width: int) -> tuple[Any, Any, Any]:
    """``C = A @ B`` in steps of *width*, with B packed into tiles of 16 columns; tails are cut."""
    a, b = te.placeholder((m, depth), types[0], name="A"), te.placeholder((depth, n), types[1], name="B")
    p = te.compute((depth, n), lambda k, j: b[k, j], name="P")
    k = te.reduce_axis((0, depth), name="k")
    c = te.compute((m, n), lambda i, j: te.sum(a[i, k].astype(types[2]) * p[k, j].astype(types[2]), axis=k), name="C")
    s = te.create_schedule(c)
    s[p].transform_layout(lambda k, j: (j // 16, k // width, j % 16, k % width))
    local = s.cache_write(c, "local")
    io, jo, _, ji = s[c].tile("i", "j", 4, 16, tail="cut")
    s[local].compute_at(s[c], jo)
    i, j, kk = s[local].loops
    ko, ki = s[local].split(kk, factor=width, tail="cut")
    s[local].reorder(ko, i, j, ki)
    s[local].unroll(i)
    s[c].vectorize(ji)
    s[c].parallel(io)
    return s, local, j


def int8_product(m: int, n: int, depth: int, left: str = "uint8") -> Any:
    s, local, j = product(m, n, depth, (left, "int8", "int32"), 4)
    s[local].tensorize(j, VNNI[left], tail="cut")
    return s


def signed_product(m: int, n: int, depth: int) -> Any:
    return int8_product(m, n, depth, "int8")


def bf16_product(m: int, n: int, depth: int) -> Any:
    s, local, j = product(m, n, depth, ("bfloat16", "bfloat16", "float32"), 2)
    s[local].tensorize(j, "x86.bf16.dot16", tail="cut")
    return s


def fma_product(m: int, n: int, depth: int, dtype: str, lanes: int) -> Any:
    a, b = te.placeholder((m, depth), dtype, name="A"), te.placeholder((depth, n), dtype, name="B")
    k = te.reduce_axis((0, depth), name="k")
    c = te.compute((m, n), lambda i, j: te.sum(a[i, k] * b[k, j], axis=k), name="C")
    s = te.create_schedule(c)
    _, _, ii, ji = s[c].tile("i", "j", 4, lanes, tail="cut")
    s[c].reorder("k", ii, ji)
    s[c].unroll(ii)
    s[c].tensorize(ji, f"x86.fma.f{32 if dtype == 'float32' else 64}x{lanes}")
    return s


def random_bytes(m: int, n: int, depth: int, left: str) -> tuple[Any, Any]:
    rng = np.random.default_rng(m + n + depth)
    whole = np.iinfo(left)
    a = rng.integers(whole.min, whole.max + 1, (m, depth)).astype(left)
    return a, rng.integers(-128, 128, (depth, n)).astype("int8")


# -- meaning, on any machine


@pytest.mark.parametrize(("m", "n", "depth"), [(4, 16, 4), (5, 32, 8), (8, 16, 12)])
@pytest.mark.parametrize("make", [int8_product, signed_product, bf16_product])
def test_the_nests_mean_a_product(make: Any, m: int, n: int, depth: int) -> None:
    s = make(m, n, depth)
    check_meaning(s)
    check_round_trip(s)


@pytest.mark.parametrize("known", FMA, ids=lambda known: known.name)
def test_fma_means_a_product(known: Any) -> None:
    dtype, lanes = known.output.dtype, known.output.shape[0]
    s = fma_product(5, 2 * lanes, 3, dtype, lanes)
    check_meaning(s)
    check_round_trip(s)


# -- on machines that have the instruction


@pytest.mark.parametrize(("m", "n", "depth"), [(4, 16, 4), (7, 37, 19), (13, 64, 64), (1, 17, 5), (64, 128, 256)])
@pytest.mark.parametrize("left", list(VNNI))
def test_int8_is_exact(m: int, n: int, depth: int, left: str) -> None:
    needs(VNNI[left])
    a, b = random_bytes(m, n, depth, left)
    f = fs.build(int8_product(m, n, depth, left), name="int8")
    np.testing.assert_array_equal(f(a, b), a.astype("int32") @ b.astype("int32"))
    assert "vpdpbusd" in f.asm()


@pytest.mark.parametrize("left", list(VNNI))
def test_int8_wraps_around_and_does_not_saturate(left: str) -> None:
    needs(VNNI[left])
    k = te.reduce_axis((0, 4), name="k")
    a, b = te.placeholder((4,), left, name="A"), te.placeholder((16, 4), "int8", name="B")
    c = te.compute((16,), lambda j: te.sum(a[k].astype("int32") * b[j, k].astype("int32"), axis=k), name="C")
    s = te.create_schedule(c)
    s[c].tensorize("j", VNNI[left])
    f = fs.build(s, name="extremes")
    low, high = np.iinfo(left).min, np.iinfo(left).max
    for x, y in ((high, 127), (high, -128), (low, 127), (low, -128)):
        found = f(np.full(4, x, left), np.full((16, 4), y, "int8"))
        np.testing.assert_array_equal(found, np.full(16, 4 * x * y, "int32"))


@pytest.mark.parametrize("left", list(VNNI))
def test_the_accumulators_stay_in_registers(left: str) -> None:
    needs(VNNI[left])
    text = fs.build(int8_product(64, 64, 256, left), name="registers").asm()
    lines = [line.split("#")[0] for line in text.splitlines()]
    dots = [n for n, line in enumerate(lines) if "vpdpbusd" in line]
    assert len(dots) >= 4
    inner = lines[dots[0] : dots[3] + 1]
    assert not any("%zmm" in line and line.split()[0].startswith("vmov") and line.endswith(")") for line in inner)


@pytest.mark.parametrize(("m", "n", "depth"), [(4, 16, 2), (7, 37, 19), (13, 64, 64), (64, 128, 256)])
def test_bf16_is_within_the_rounding_of_its_sums(m: int, n: int, depth: int) -> None:
    needs("x86.bf16.dot16")
    rng = np.random.default_rng(m + n)
    a, b = rng.standard_normal((m, depth)).astype(BF16), rng.standard_normal((depth, n)).astype(BF16)
    f = fs.build(bf16_product(m, n, depth), name="bf16")
    exact = a.astype("float64") @ b.astype("float64")
    size = np.abs(a.astype("float64")) @ np.abs(b.astype("float64"))
    assert (np.abs(f(a, b) - exact) <= depth * 2.0**-24 * size).all()  # one rounding a step, each of 2**-24
    assert "vdpbf16ps" in f.asm()


def test_bf16_small_whole_numbers_are_exact() -> None:
    needs("x86.bf16.dot16")
    check_meaning(bf16_product(9, 33, 22), compiled=True)


def one_dot(a: Any, b: Any) -> Any:
    k = te.reduce_axis((0, 2), name="k")
    x, y = te.placeholder((2,), "bfloat16", name="A"), te.placeholder((16, 2), "bfloat16", name="B")
    c = te.compute((16,), lambda j: te.sum(x[k].astype("float32") * y[j, k].astype("float32"), axis=k), name="C")
    s = te.create_schedule(c)
    s[c].tensorize("j", "x86.bf16.dot16")
    first, second = np.array(a, BF16), np.tile(np.array(b, BF16), (16, 1))
    found = fs.build(s, name="one_dot")(first, second)
    assert len(set(found.view("uint32"))) == 1
    (meant,) = interpret(program_of(s), [first, second])
    return found[0], meant[0]


def test_bf16_facts_about_nan_infinity_and_subnormals() -> None:
    needs("x86.bf16.dot16")
    for a, b in (([np.nan, 1], [1, 1]), ([np.inf, 1], [0, 1]), ([np.inf, np.inf], [1, -1])):
        found, meant = one_dot(a, b)
        assert np.isnan(found)
        assert np.isnan(meant)
    for a, b in (([np.inf, 1], [1, 1]), ([3e38, 3e38], [3e38, 1])):
        found, meant = one_dot(a, b)
        assert found == meant == np.inf
    found, meant = one_dot([2.0**-130, 0], [2.0, 0])  # a subnormal input counts as zero
    assert found == 0
    assert meant == np.float32(2.0**-129)
    found, meant = one_dot([2.0**-70, 0], [2.0**-70, 0])  # so does a subnormal result
    assert found == 0
    assert meant == np.float32(2.0**-140)
    found, meant = one_dot([2.0**-70, 0], [2.0**-56, 0])  # the smallest normal number is left alone
    assert found == meant == np.float32(2.0**-126)


@pytest.mark.parametrize("known", FMA, ids=lambda known: known.name)
def test_fma(known: Any) -> None:
    needs(known.name)
    dtype, lanes = known.output.dtype, known.output.shape[0]
    s = fma_product(7, 3 * lanes + 1, 9, dtype, lanes)
    check_meaning(s, compiled=True)
    f = fs.build(s, name="fma")
    register = "zmm" if lanes * np.dtype(dtype).itemsize == 64 else "ymm"
    assert any("vfmadd" in line and register in line for line in f.asm().splitlines())


def test_a_lesser_cpu_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    if host_target().arch != "x86_64":
        pytest.skip("the levels of x86-64 are asked for")
    monkeypatch.setenv("FLASHSCHED_TARGET", "x86-64-v2")
    with pytest.raises(fs.LoweringError, match=r"'x86.vnni.u8s8x16' needs a CPU with avx512vnni, and x86-64-v2 has"):
        fs.build(int8_product(4, 16, 4), name="lesser")
    assert not host_target().has("avx512vnni")
    assert host_target().has("sse4.2")
