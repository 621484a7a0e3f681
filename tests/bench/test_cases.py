"""What is measured: names, shapes, work; and the float64 results against the operators' own references."""

from __future__ import annotations

import math

import numpy as np
import pytest

from flashsched.bench.cases import SETS, Case, find_cases
from flashsched.bench.computations import COMPUTATIONS
from flashsched.errors import TuneError
from flashsched.ops import OPERATORS
from flashsched.tune.task import Task

CASES = SETS["all"]


def test_names_are_unique_and_every_operator_is_measured() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
    assert {case.op for case in CASES} == set(COMPUTATIONS)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_case_reads_back(case: Case) -> None:
    assert Case.from_json(case.to_json()) == case
    assert case.flops > 0
    assert case.bytes > 0


@pytest.mark.parametrize(
    "case",
    [
        Case("product", "matmul", (5, 7, 9), options={"bias": True, "activation": "gelu"}),
        Case("relu-after", "matmul", (5, 7, 9), options={"activation": "relu"}),
        Case("double", "matmul", (5, 7, 9), "float64"),
        Case("image", "conv2d", (2, 4, 9, 8, 6, 3, 2, 1), options={"groups": 2, "bias": True}),
        Case("dilated", "conv2d", (1, 3, 9, 8, 4, 3, 1, 2), options={"dilation": 2}),
        Case("add", "add", (5, 7)),
        Case("relu", "relu", (5, 7)),
    ],
    ids=lambda case: case.name,
)
def test_two_accounts_of_an_operator_agree(case: Case) -> None:
    task = Task(case.op, case.shape, case.dtype, **case.options)
    inputs = case.inputs(seed=1)
    assert [array.shape for array in inputs] == [tensor.shape for tensor in task.args()[:-1]]
    reference = OPERATORS[case.op].reference
    assert reference is not None
    sizes = dict(zip(task.operator.shape_names, case.shape, strict=True))
    expected = reference(*inputs, **({**sizes, **case.options} if case.op not in ("add", "relu") else {}))
    np.testing.assert_allclose(case.exact(inputs), expected, rtol=1e-6)
    assert case.out_shape == expected.shape
    assert case.bytes == task.bytes


def test_a_softmax_sums_to_one_and_causal_attention_looks_back() -> None:
    rows = Case("rows", "softmax", (5, 7))
    np.testing.assert_allclose(rows.exact(rows.inputs()).sum(-1), 1)
    causal = Case("causal", "attention", (1, 2, 6, 4), options={"causal": True})
    q, k, v = causal.inputs()
    before = causal.exact([q, k, v])
    k[:, :, 4:], v[:, :, 4:] = 9, -9
    after = causal.exact([q, k, v])
    np.testing.assert_array_equal(before[:, :, :4], after[:, :, :4])
    assert not np.allclose(before[:, :, 4:], after[:, :, 4:])
    np.testing.assert_allclose(before[:, :, 0], causal.inputs()[2][:, :, 0], rtol=1e-6)


def test_norms_have_unit_rows() -> None:
    for op, extra in (("layernorm", 2), ("rmsnorm", 1)):
        case = Case(op, op, (5, 4096))
        inputs = [case.inputs()[0], np.ones(4096, np.float32), np.zeros(4096, np.float32)][: 1 + extra]
        np.testing.assert_allclose((case.exact(inputs) ** 2).mean(-1), 1, rtol=1e-4)


def test_transposed_inputs_are_the_same_values_in_another_order() -> None:
    plain, turned = Case("a", "matmul", (3, 4, 5)), Case("b", "matmul", (3, 4, 5), transposed=(0,))
    for first, second in zip(plain.inputs(), turned.inputs(), strict=True):
        np.testing.assert_array_equal(first, second)
    assert turned.inputs()[0].flags.f_contiguous
    assert turned.inputs()[1].flags.c_contiguous


def test_errors_are_judged_by_the_length_of_the_sum() -> None:
    case = Case("product", "matmul", (32, 32, 64))
    inputs = case.inputs()
    exact = case.exact(inputs)
    product = inputs[0] @ inputs[1]
    assert case.error(product, exact) <= 1
    rounded = [(array.view(np.uint32) & 0xFFFF0000).view(np.float32) for array in inputs]  # what bfloat16 keeps
    assert case.error(rounded[0] @ rounded[1], exact) > 1
    product[3, 5] += inputs[0][3, 7] * inputs[1][7, 5]
    assert case.error(product, exact) > 1
    assert case.error(np.full_like(product, np.nan), exact) == math.inf
    assert case.error(product[:-1], exact) == math.inf
    assert case.error(exact, exact) == math.inf  # float64 where float32 was asked for
    nothing = Case("nothing", "matmul", (0, 32, 64))
    assert nothing.error(np.zeros((0, 32), np.float32), np.zeros((0, 32))) == 0


def test_cases_are_found_by_set_pattern_and_operator() -> None:
    assert find_cases([]) == list(SETS["table"])
    assert find_cases([], "all") == [*SETS["table"], *SETS["wide"]]
    assert [case.name for case in find_cases(["matmul-64", "matmul-6*", "relu"])] == [
        "matmul-64", "matmul-64x64x8192", "relu-4096x4096"
    ]  # fmt: skip


def test_wrong_cases_are_refused() -> None:
    with pytest.raises(TuneError, match=r"no benchmark case 'matmul-65'(.|\n)*matmul-64"):
        find_cases(["matmul-65"])
    with pytest.raises(TuneError, match=r"no set of cases 'tabel'(.|\n)*table"):
        find_cases([], "tabel")
