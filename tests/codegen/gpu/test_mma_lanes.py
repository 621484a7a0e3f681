"""The texts of the tensor-core intrinsics, run by 32 lanes in Python: what ldmatrix fetches is what mma multiplies."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from flashsched.schedule.intrinsic import Operand, find_intrinsic
from flashsched.te.evaluate import call_function

WARP = 32
Lane = dict[str, object]


class Warp:
    """Runs the LLVM text of an intrinsic, a line in all lanes at a time.

    A pointer is a pair of an array and the number of an element. The two instructions of a warp do what the PTX ISA
    manual says of them ("Matrix Fragments for mma.m16n8k16", "ldmatrix").
    """

    def __init__(self, arguments: Sequence[dict[str, object]], pairs: bool) -> None:
        self.lanes: list[Lane] = [dict(given) for given in arguments]
        self.pairs = pairs  # a register holds two elements of 16 bits, or one of 32

    def run(self, text: str) -> None:
        body = text[text.index("{\n  %lane32") + 1 : text.rindex("ret void")]
        for line in body.strip().splitlines():
            target, _, instruction = (
                line.strip().rpartition(" = ") if line.strip()[0] == "%" else ("", "", line.strip())
            )
            results = self._line(instruction)
            for lane, result in zip(self.lanes, results, strict=True):
                if target:
                    lane[target] = result

    def _line(self, text: str) -> list[object]:
        if "ldmatrix" in text:
            return self._fetched(text)
        if "@llvm.nvvm.mma" in text:
            return self._multiplied(text)
        if "laneid" in text:
            return list(range(WARP))
        if "f2tf32" in text:
            name = re.search(r"float (%\w+)\)", text)[1]  # type: ignore[index]
            return [float(call_function("tf32")(lane[name])) for lane in self.lanes]
        return [self._one(lane, text) for lane in self.lanes]

    @staticmethod
    def _value(lane: Lane, text: str) -> object:
        return lane[text] if text[0] == "%" else float(text) if "." in text else int(text)

    def _one(self, lane: Lane, text: str) -> object:
        word = text.split()[0]
        operands = [self._value(lane, x) for x in re.findall(r"(?<=[ (])(%\w+|-?\d+\.?\d*)(?=[,)]|$| to)", text)]
        match word:
            case "add":
                return operands[0] + operands[1]  # type: ignore[operator]
            case "mul":
                return operands[0] * operands[1]  # type: ignore[operator]
            case "and":
                return operands[0] & operands[1]  # type: ignore[operator]
            case "lshr":
                return operands[0] >> operands[1]  # type: ignore[operator]
            case "shl":
                return operands[0] << operands[1]  # type: ignore[operator]
            case "zext" | "addrspacecast" | "bitcast":  # a register holds its elements
                return operands[0]
            case "getelementptr":
                array, at = operands[0]  # type: ignore[misc]
                return array, at + operands[1]
            case "load":
                array, at = operands[0]  # type: ignore[misc]
                return array[at]
            case "store":
                array, at = operands[1]  # type: ignore[misc]
                array[at] = operands[0]
                return None
            case "insertelement":
                pair = list(operands[0]) if text.count("poison") == 0 else [0, 0]  # type: ignore[call-overload]
                pair[int(operands[-1])] = operands[-2]  # type: ignore[call-overload]
                return tuple(pair)
            case "extractvalue":
                return operands[0][operands[1]]  # type: ignore[index]
        raise AssertionError(text)

    def _fetched(self, text: str) -> list[object]:
        """Lane l gives row l % 8 of matrix l // 8, and gets the register l % 4 of row l // 4 of each."""
        count = int(re.search(r"\.x(\d)", text)[1])  # type: ignore[index]
        name = re.search(r"addrspace\(3\) (%\w+)\)", text)[1]  # type: ignore[index]
        rows = [lane[name] for lane in self.lanes[: 8 * count]]
        long = 8 if self.pairs else 4  # elements of 16 bytes
        assert all(at % long == 0 for _, at in rows), "a row is not aligned to 16 bytes"  # type: ignore[misc]
        matrices = [
            np.array([array[at : at + long] for array, at in rows[8 * n : 8 * n + 8]])  # type: ignore[misc,index]
            for n in range(count)
        ]
        if ".trans" in text:
            assert self.pairs, "only pairs of 16 bits are turned"
            matrices = [matrix.T for matrix in matrices]
        return [[self._register(m[lane // 4], lane % 4) for m in matrices] for lane in range(WARP)]

    def _register(self, row: np.ndarray, number: int) -> object:
        return tuple(row[2 * number : 2 * number + 2]) if self.pairs else row[number]

    def _multiplied(self, text: str) -> list[object]:
        names = re.findall(r" (%\w+)[,)]", text)
        wide = 2 if self.pairs else 1
        a, b = np.zeros((16, 8 * wide), "float32"), np.zeros((8 * wide, 8), "float32")
        for number, lane in enumerate(self.lanes):
            g, t = divmod(number, 4)
            k, further = wide * t, wide * (t + 4)
            for n, (row, first) in enumerate([(g, k), (g + 8, k), (g, further), (g + 8, further)]):
                a[row, first : first + wide] = lane[names[n]]
            for n, first in enumerate([k, further]):
                b[first : first + wide, g] = lane[names[4 + n]]
        product = a @ b
        results: list[object] = []
        for number, lane in enumerate(self.lanes):
            g, t = divmod(number, 4)
            places = [(g, 2 * t), (g, 2 * t + 1), (g + 8, 2 * t), (g + 8, 2 * t + 1)]
            results.append([lane[names[6 + n]] + product[at] for n, at in enumerate(places)])  # type: ignore[operator]
        return results


def laid(matrix: np.ndarray, turned: bool, row: int) -> tuple[np.ndarray, tuple[int, int]]:
    """*matrix* in memory, its rows (or columns) *row* elements apart, and its strides."""
    rows = matrix.T if turned else matrix
    memory = np.zeros(rows.shape[0] * row, matrix.dtype)
    for n, values in enumerate(rows):
        memory[n * row : n * row + len(values)] = values
    return memory, (1, row) if turned else (row, 1)


@pytest.mark.parametrize("name", ["nvidia.mma.m16n8k16.f16", "nvidia.mma.m16n8k16.bf16", "nvidia.mma.m16n8k8.tf32"])
@pytest.mark.parametrize("turned", [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize("fetched", [True, False])
@pytest.mark.parametrize("held", [True, False])
def test_lanes_multiply_what_they_fetch(name: str, turned: tuple[bool, bool], fetched: bool, held: bool) -> None:
    known = find_intrinsic(name)
    assert known.held is not None
    rng = np.random.default_rng(0)
    depth = known.inputs[0].known_shape[1]
    a, b = rng.integers(-3, 4, (16, depth)).astype("float32"), rng.integers(-3, 4, (depth, 8)).astype("float32")
    if depth == 8:  # what is below the ten bits of tf32 is rounded
        a, b = a + np.float32(2**-12), b - np.float32(2**-13)
    c = rng.integers(-3, 4, (16, 8)).astype("float32")
    (in_a, stride_a), (in_b, stride_b) = laid(a, turned[0], 24), laid(b, turned[1], 24)
    sums = c.reshape(-1).copy()
    scope = "shared" if fetched else "global"
    operands = [
        Operand(scope, stride_a, 16),
        Operand(scope, stride_b, 16),
        Operand("lanes" if held else "shared", (8, 1), 4),
    ]
    mine = [np.zeros(4, "float32") for _ in range(WARP)]
    for (i, j), value in np.ndenumerate(c):
        lane, number = (int(e.value) for e in at(known.held.apply, i, j))  # type: ignore[attr-defined]
        mine[lane][number] = value
    given = [
        {
            "%a": (in_a, 0), "%a0": stride_a[0], "%a1": stride_a[1],
            "%b": (in_b, 0), "%b0": stride_b[0], "%b1": stride_b[1],
            "%c": (mine[lane] if held else sums, 0), "%c0": 8, "%c1": 1,
        }
        for lane in range(WARP)
    ]  # fmt: skip
    update = known.how["update"]
    assert callable(update)
    text = update(operands)
    by_rows = fetched and (depth == 16 or not turned[0] or turned[1])  # 32 bits are fetched along the reduction only
    assert ("ldmatrix" in text) == by_rows
    Warp(given, depth == 16).run(text)
    rounded = call_function("tf32") if depth == 8 else np.asarray
    wanted = c + rounded(a) @ rounded(b)
    for (i, j), value in np.ndenumerate(wanted):
        lane, number = (int(e.value) for e in at(known.held.apply, i, j))  # type: ignore[attr-defined]
        assert (mine[lane][number] if held else sums[i * 8 + j]) == value


def at(apply: Callable[..., object], i: int, j: int) -> tuple[object, ...]:
    """Which lane has an element, and as which of its own."""
    from flashsched.te import dtypes
    from flashsched.te.expr import Const

    return tuple(apply([Const(i, dtypes.INDEX), Const(j, dtypes.INDEX)], {}))  # type: ignore[arg-type]
