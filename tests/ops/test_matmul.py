from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from flashsched.errors import TuneError
from flashsched.hw import host_spec, probe_host
from flashsched.ops import matmul
from flashsched.ops.gemm_plan import ROWS, register_tile, rows_of_one_set, shallow, share_rows
from flashsched.ops.matmul import ACTIVATIONS, accumulator
from flashsched.tune.search.knobs import FirstKnobs
from flashsched.tune.task import Task

SIZES = st.sampled_from([0, 1, 2, 3, 7, 13, 16, 17, 31, 32, 33, 40, 61, 64, 67, 128])


@settings(max_examples=25, deadline=None)
@given(
    shape=st.tuples(SIZES, SIZES, SIZES),
    dtype=st.sampled_from(matmul.dtypes),
    bias=st.booleans(),
    activation=st.sampled_from(ACTIVATIONS),
    turned=st.tuples(st.booleans(), st.booleans()),
    seed=st.integers(0, 1 << 16),
)
@example(shape=(33, 40, 0), dtype="float32", bias=True, activation="gelu", turned=(False, False), seed=0)
@example(shape=(1, 1, 1), dtype="bfloat16", bias=False, activation=None, turned=(True, False), seed=1)
@example(shape=(0, 16, 16), dtype="int8", bias=True, activation=None, turned=(False, True), seed=2)
def test_any_knobs_compute_what_numpy_computes(assert_right, shape, dtype, bias, activation, turned, seed):
    assume(activation is None or not dtype.endswith("int8"))
    options = {"bias": bias, "activation": activation, "transpose_a": turned[0], "transpose_b": turned[1]}
    assert_right(Task("matmul", shape, dtype, **options), seed)


@settings(max_examples=15, deadline=None)
@given(
    count=st.sampled_from([0, 1, 2, 3, 5]),
    shape=st.tuples(SIZES, SIZES, SIZES),
    dtype=st.sampled_from(matmul.dtypes),
    turned=st.tuples(st.booleans(), st.booleans()),
    seed=st.integers(0, 1 << 16),
)
def test_a_batch_of_products(assert_right, count, shape, dtype, turned, seed):
    task = Task("batch_matmul", (count, *shape), dtype, transpose_a=turned[0], transpose_b=turned[1])
    assert_right(task, seed)


@settings(max_examples=15, deadline=None)
@given(
    shape=st.tuples(SIZES, SIZES, SIZES),
    width=st.sampled_from([1, 3, 8, 16, 32, 48]),
    dtype=st.sampled_from(matmul.dtypes),
    bias=st.booleans(),
    turned=st.booleans(),
    seed=st.integers(0, 1 << 16),
)
def test_a_matrix_packed_ahead(assert_right, shape, width, dtype, bias, turned, seed):
    assert_right(Task("packed_matmul", (*shape, width), dtype, bias=bias, transpose_a=turned), seed)


@pytest.mark.parametrize("dtype", matmul.dtypes)
@pytest.mark.parametrize("shape", [(67, 61, 53), (1, 128, 64), (128, 1, 64), (5, 3, 0), (40, 3, 200), (3, 3, 5000)])
def test_the_default_knobs_are_feasible_and_right(assert_right, shape, dtype):
    assert assert_right(Task("matmul", shape, dtype))
    assert assert_right(Task("matmul", shape, dtype, transpose_a=True, transpose_b=True))
    assert assert_right(Task("batch_matmul", (3, *shape), dtype))
    assert assert_right(Task("packed_matmul", (*shape, 32), dtype))


@pytest.mark.parametrize("shape", [(1, 700, 9), (40, 1030, 33)])
def test_panels_too_wide_for_the_registers_are_read_in_tiles(assert_right, shape):
    assert assert_right(Task("packed_matmul", (*shape, 1024), "float64"))


def machine(isa, bits):
    """This machine with other vectors, of which AVX-512 and Arm have 32, and others 16."""
    return host_spec(None, dataclasses.replace(probe_host(), isa=isa, vector_bits=bits))


@pytest.mark.parametrize(
    ("isa", "bits", "size", "tile"),
    [
        ("avx2", 256, 512, (6, 2)), ("avx2", 256, 768, (4, 3)), ("sse2", 128, 512, (6, 2)),
        ("avx512", 512, 1024, (6, 4)),
    ],
)  # fmt: skip
def test_register_tiles_fill_the_registers_that_a_cpu_has(isa, bits, size, tile):
    assert register_tile(size, size, machine(isa, bits), "float32", threads=2) == tile


def two_cores():
    return host_spec(None, dataclasses.replace(probe_host(), isa="avx512", vector_bits=512, cores=2))


def tile_rows(shape):
    """Rows of the register tile of a product on two cores."""
    asked = FirstKnobs()
    Task("matmul", shape).candidate(asked, two_cores())
    return ROWS[asked.decisions["tile_m"]]


@pytest.mark.parametrize(
    ("shape", "by_rows"),
    [((100, 100), True), ((5000, 100), True), ((100, 128), False), ((12, 5000), False), ((512, 512), False)],
)
def test_threads_share_what_divides_among_them(shape, by_rows):
    """Seven vectors of columns are four for one of two threads; a hundred rows are fifty for each."""
    assert share_rows(*shape, two_cores(), "float32", 2) == by_rows
    assert not share_rows(*shape, two_cores(), "float32", 1)


def test_rows_that_meet_in_a_set_of_the_cache_are_few():
    assert rows_of_one_set(1024, "float32") == rows_of_one_set(512, "float64") == 8
    assert rows_of_one_set(1000, "float32") > 8
    assert tile_rows((4096, 16, 1024)) == 8
    assert tile_rows((4096, 16, 1000)) == 14


def test_an_output_that_takes_longer_to_write_than_to_compute_is_written_row_by_row():
    spec = two_cores()
    assert shallow(3000, 3000, 1, spec, "float32")
    assert not shallow(3000, 3000, 3000, spec, "float32")
    assert not shallow(16, 16, 1, spec, "float32")  # the caches hold it


@pytest.mark.parametrize("shape", [(100, 100, 600), (300, 16, 1024), (700, 700, 3), (97, 90, 2000)])
def test_other_ways_to_share_are_right(assert_right, shape):
    assert assert_right(Task("matmul", shape))


@pytest.mark.parametrize("n", [1, 2, 4])
def test_few_columns_fit_the_registers_that_a_cpu_has(n):
    candidate = Task("matmul", (300, n, 70)).candidate(FirstKnobs(), machine("avx2", 256))  # it may be Infeasible
    assert any(step.primitive == "rfactor" for step in candidate.trace)


@pytest.mark.parametrize(
    ("dtype", "wide"),
    [
        ("float32", "float32"),
        ("float64", "float64"),
        ("float16", "float32"),
        ("bfloat16", "float32"),
        ("int8", "int32"),
    ],
)
def test_narrow_products_are_summed_wide(dtype, wide):
    assert accumulator(dtype) == wide
    out = matmul.args((4, 4, 4), dtype)[-1]
    assert out.dtype == (wide if dtype == "int8" else dtype)


@pytest.mark.parametrize("dtype", ["bfloat16", "uint8"])
@pytest.mark.parametrize("columns", [129, 145])
def test_a_last_tile_of_one_column_is_too_narrow_for_an_instruction(assert_right, dtype, columns):
    assert assert_right(Task("matmul", (100, columns, 64), dtype))


def test_a_sum_of_int8_goes_beyond_int8(assert_right):
    task = Task("matmul", (8, 8, 512), "int8")
    assert abs(np.asarray(task.inputs(1)[0], np.int64) @ np.asarray(task.inputs(1)[1], np.int64)).max() > 127
    assert assert_right(task)


def test_the_inputs_come_as_in_the_function():
    assert [t.name for t in matmul.args((2, 3, 4), options={"bias": True, "activation": "silu"})] == [
        "A",
        "B",
        "bias",
        "C",
    ]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"activation": "tanh"}, "no activation 'tanh'"),
        ({"dtype": "int8", "activation": "relu"}, "activation 'relu' needs a float dtype, not int8"),
        ({"dtype": "int32"}, "matmul does not take 'int32'"),
        ({"activatoin": None}, "matmul has no option 'activatoin'"),
    ],
)
def test_refusals(options, says):
    with pytest.raises(TuneError, match=says):
        Task("matmul", (4, 4, 4), **options)
