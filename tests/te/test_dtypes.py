"""The table of element types, and what two of them promote to."""

from __future__ import annotations

import itertools

import ml_dtypes
import numpy as np
import pytest

from flashsched.errors import DtypeError, ExpressionError
from flashsched.te import dtypes
from flashsched.te.dtypes import DTYPES, check_dtype, numpy_dtype, promote

# "-" where there is none; of two integers it is NumPy's
TABLE = """
     f64  f32  f16  bf16 i64  i32  i16  i8   u64  u32  u16  u8   b
f64  f64  f64  f64  f64  f64  f64  f64  f64  f64  f64  f64  f64  f64
f32  f64  f32  f32  f32  f32  f32  f32  f32  f32  f32  f32  f32  f32
f16  f64  f32  f16  f32  f16  f16  f16  f16  f16  f16  f16  f16  f16
bf16 f64  f32  f32  bf16 bf16 bf16 bf16 bf16 bf16 bf16 bf16 bf16 bf16
i64  f64  f32  f16  bf16 i64  i64  i64  i64  -    i64  i64  i64  i64
i32  f64  f32  f16  bf16 i64  i32  i32  i32  -    i64  i32  i32  i32
i16  f64  f32  f16  bf16 i64  i32  i16  i16  -    i64  i32  i16  i16
i8   f64  f32  f16  bf16 i64  i32  i16  i8   -    i64  i32  i16  i8
u64  f64  f32  f16  bf16 -    -    -    -    u64  u64  u64  u64  u64
u32  f64  f32  f16  bf16 i64  i64  i64  i64  u64  u32  u32  u32  u32
u16  f64  f32  f16  bf16 i64  i32  i32  i32  u64  u32  u16  u16  u16
u8   f64  f32  f16  bf16 i64  i32  i16  i16  u64  u32  u16  u8   u8
b    f64  f32  f16  bf16 i64  i32  i16  i8   u64  u32  u16  u8   b
"""
SHORT = {
    name.replace("float", "f").replace("uint", "u").replace("int", "i").replace("bool", "b"): name for name in DTYPES
}


def test_promotion_table() -> None:
    head, *lines = TABLE.strip().split("\n")
    columns = [SHORT[name] for name in head.split()]
    assert columns == list(DTYPES) == [SHORT[line.split()[0]] for line in lines]
    for line in lines:
        row, *wanted = line.split()
        for column, both in zip(columns, wanted, strict=True):
            if both != "-":
                assert promote(SHORT[row], column) == SHORT[both], (row, column)
                continue
            with pytest.raises(DtypeError, match=r"no integer type holds all values of int\d+ and of uint64"):
                promote(SHORT[row], column)


def test_promotion_is_commutative_and_loses_no_integer() -> None:
    for a, b in itertools.product(DTYPES, repeat=2):
        if {a, b} & {"uint64"} and {a, b} & {"int8", "int16", "int32", "int64"}:
            continue
        assert promote(a, b) == promote(b, a)
        both = promote(a, b)
        if not dtypes.is_float(both):
            assert dtypes.min_value(both) <= dtypes.min_value(a) <= dtypes.max_value(a) <= dtypes.max_value(both)


@pytest.mark.parametrize("name", DTYPES)
def test_each_dtype_agrees_with_numpy(name: str) -> None:
    found = numpy_dtype(name)
    assert found.itemsize * 8 == dtypes.bits(name)
    assert check_dtype(found) == name
    assert check_dtype(found.type) == name
    assert check_dtype(name) == name
    kinds = [dtypes.is_float(name), dtypes.is_int(name), dtypes.is_bool(name)]
    assert sum(kinds) == 1
    assert dtypes.is_unsigned(name) == (found.kind == "u")
    if dtypes.is_int(name):
        assert (dtypes.min_value(name), dtypes.max_value(name)) == (np.iinfo(name).min, np.iinfo(name).max)
    elif dtypes.is_float(name):
        assert (dtypes.min_value(name), dtypes.max_value(name)) == (-np.inf, np.inf)
    else:
        assert (dtypes.min_value(name), dtypes.max_value(name)) == (False, True)


@pytest.mark.parametrize(
    ("given", "name"),
    [("float", "float32"), ("int", "int32"), ("double", "float64"), ("half", "float16"), (np.float32, "float32"),
     (np.dtype("i1"), "int8"), (bool, "bool"), (ml_dtypes.bfloat16, "bfloat16"), (np.dtype("<f8"), "float64")],
)  # fmt: skip
def test_spellings(given: object, name: str) -> None:
    assert check_dtype(given) == name


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("float31", r"no dtype 'float31'\n.*\n  hint: did you mean float32"),
        ("float8_e4m3", r"no dtype 'float8_e4m3'[^?]*hint: no kernel is made in it; [^?]*hw.operators.estimate"),
        ("tf32", r"no dtype 'tf32'[^?]*hint: no kernel is made in it"),
        ("fp8", r"no dtype 'fp8'[^?]*hint: no kernel is made in it"),
        ("fp16", r"no dtype 'fp16'[^?]* did you mean float16"),
        ("bf16", r"no dtype 'bf16'[^?]* did you mean bfloat16"),
        ("i8", r"no dtype 'i8'[^?]* did you mean int8"),
        ("", r"no dtype ''.*\n.*\n  hint: known: bfloat16"),
        (None, "no dtype 'None'"),
        (np.complex64, "no dtype 'complex64'"),
        (np.complex128, "no dtype 'complex128'"),
        ("torch.float32", "no dtype 'torch.float32'"),
        (7, "no dtype '7'"),
    ],
)
def test_refusals(given: object, says: str) -> None:
    with pytest.raises(ExpressionError, match=says):
        check_dtype(given)
