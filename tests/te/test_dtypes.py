"""The table of element types, and what two of them promote to."""

from __future__ import annotations

import itertools

import ml_dtypes
import numpy as np
import pytest

from flashsched.errors import ExpressionError
from flashsched.te import dtypes
from flashsched.te.dtypes import DTYPES, check_dtype, numpy_dtype, promote

# rows and columns: f64 f32 f16 bf16 i64 i32 i16 i8 u8 b
TABLE = """
float64  float64 float64  float64  float64  float64  float64  float64  float64  float64  float64
float32  float64 float32  float32  float32  float32  float32  float32  float32  float32  float32
float16  float64 float32  float16  float32  float16  float16  float16  float16  float16  float16
bfloat16 float64 float32  float32  bfloat16 bfloat16 bfloat16 bfloat16 bfloat16 bfloat16 bfloat16
int64    float64 float32  float16  bfloat16 int64    int64    int64    int64    int64    int64
int32    float64 float32  float16  bfloat16 int64    int32    int32    int32    int32    int32
int16    float64 float32  float16  bfloat16 int64    int32    int16    int16    int16    int16
int8     float64 float32  float16  bfloat16 int64    int32    int16    int8     int16    int8
uint8    float64 float32  float16  bfloat16 int64    int32    int16    int16    uint8    uint8
bool     float64 float32  float16  bfloat16 int64    int32    int16    int8     uint8    bool
"""


def test_promotion_table() -> None:
    assert [line.split()[0] for line in TABLE.split("\n") if line] == list(DTYPES)
    for line in TABLE.strip().split("\n"):
        row, *wanted = line.split()
        assert [promote(row, column) for column in DTYPES] == wanted, row


def test_promotion_is_commutative_and_loses_no_integer() -> None:
    for a, b in itertools.product(DTYPES, repeat=2):
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
        ("", r"no dtype ''.*\n.*\n  hint: known: bfloat16"),
        (None, "no dtype 'None'"),
        (np.complex64, "no dtype 'complex64'"),
        (np.uint32, "no dtype 'uint32'"),
        ("torch.float32", "no dtype 'torch.float32'"),
        (7, "no dtype '7'"),
    ],
)
def test_refusals(given: object, says: str) -> None:
    with pytest.raises(ExpressionError, match=says):
        check_dtype(given)
