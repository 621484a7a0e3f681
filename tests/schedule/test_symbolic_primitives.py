"""Each primitive on one program of any size: one kernel is right for several sizes, or the user's line is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flashsched as fs
from flashsched import te
from flashsched.errors import ScheduleError
from flashsched.schedule.schedule import Schedule
from flashsched.testing.checks import check_round_trip

SHAPES = [(0, 3), (1, 1), (3, 5), (8, 4), (13, 7), (2, 0)]
Step = Callable[[Schedule], Any]


def program() -> Schedule:
    """``D = relu((A + 1) @ B - 1)`` in stages P, C, D, of n×m and m×n."""
    n, m = te.var("n"), te.var("m")
    A, B = te.placeholder((n, m), "int32", name="A"), te.placeholder((m, n), "int32", name="B")
    k = te.reduce_axis((0, m), name="k")
    P = te.compute((n, m), lambda i, j: A[i, j] + 1, name="P")
    C = te.compute((n, n), lambda i, j: te.sum(P[i, k] * B[k, j], axis=k), name="C")
    return te.create_schedule(te.compute((n, n), lambda i, j: te.relu(C[i, j] - 1), name="D"))


def split(s: Schedule, stage: str, loop: str, factor: int = 4, tail: str | None = None) -> Any:
    return s[stage].split(loop, factor=factor, tail=tail)


def at_a_split_loop(s: Schedule, loop: str = "i") -> Any:
    """P computed at an outer loop of C, which is returned."""
    outer, inner = split(s, "C", loop)
    if loop == "k":
        s["C"].reorder(outer, "i", "j", inner)
    s["P"].compute_at(s["C"], outer)
    return outer


def cached(s: Schedule) -> None:
    copy = s.cache_write("C", "local")
    s[copy].compute_at(s["C"], split(s, "C", "i")[0])
    s[copy].reorder("k", "i", "j")


def shared(s: Schedule) -> None:
    copy = s.cache_read("P", "shared", ["C"])
    outer, inner = split(s, "C", "i")
    s["C"].bind(outer, "blockIdx.x")
    s["C"].bind(inner, "threadIdx.x")
    s[copy].compute_at(s["C"], "j")


def stored(s: Schedule) -> None:
    s["P"].compute_at(s["C"], "j")
    s["P"].store_at(s["C"], "i")


def grouped(s: Schedule) -> None:
    s.create_group(outputs=s.tensors("C"), inputs=s.inputs[0]).compute_at(s["D"], "i")


def fused_vectors(s: Schedule) -> None:
    outer, inner = s["P"].split(s["P"].fuse("i", "j"), factor=8, tail="cut")
    s["P"].vectorize(inner)
    s["P"].parallel(outer)


def specialized(s: Schedule) -> None:
    n, m = s.inputs[0].shape
    s["C"].specialize(n % 4 == 0, m == 8)
    split(s, "C", "i")


def padded(s: Schedule) -> None:
    product, *_ = s.pad_einsum("C", [4, 4, 4])
    _, lane = split(s, product.name, "j")
    s[product].reorder("k", lane)
    s[product].vectorize(lane)


def pad_value_in_vectors(s: Schedule) -> None:
    s["P"].transform_layout(lambda i, j: (i // 4, j, i % 4), pad_value=2)
    s["P"].vectorize(split(s, "P", "j", tail="cut")[1])


WORKS: dict[str, Step] = {
    "split nparts": lambda s: s["C"].split("i", nparts=3),
    "tile": lambda s: s["C"].tile("i", "j", 4, 3),
    "tail mask": lambda s: s["P"].vectorize(split(s, "P", "j", tail="mask")[1]),
    "tail cut": lambda s: s["P"].vectorize(split(s, "P", "j", tail="cut")[1]),
    "rfactor inner": lambda s: s.rfactor("C", split(s, "C", "k")[1]),
    "rfactor outer": lambda s: s.rfactor("C", split(s, "C", "k")[0]),
    "rfactor all": lambda s: s.rfactor("C", "k"),
    "stage_mem": lambda s: s.apply("stage_mem", "C", {"loop": split(s, "C", "k")[0].name}),
    "decompose_reduction": lambda s: s["C"].decompose_reduction("i"),
    "decompose_reduction inside": lambda s: s["C"].decompose_reduction(split(s, "C", "k")[0]),
    "reverse_compute_at": lambda s: s["D"].reverse_compute_at(s["C"], split(s, "C", "i")[0]),
    "double_buffer": lambda s: (at_a_split_loop(s), s["P"].double_buffer()),
    "double_buffer over k": lambda s: (at_a_split_loop(s, "k"), s["P"].double_buffer()),
    "software_pipeline": lambda s: s["C"].software_pipeline(at_a_split_loop(s), stages=[0, 1]),
    "storage_align": lambda s: s["P"].storage_align(0, 8, 1),
    "loop_partition": lambda s: s["P"].loop_partition(split(s, "P", "i")[0]),
    "peel": lambda s: s["P"].peel("i", front=1, back=1),
    "unroll_and_jam": lambda s: s["C"].unroll_and_jam("i", factor=2),
    "unroll_and_jam cut": lambda s: s["C"].unroll_and_jam("i", factor=2, tail="cut"),
    "fuse": lambda s: s["P"].parallel(s["P"].fuse("i", "j")),
    "fuse, split, vectorize": fused_vectors,
    "fuse, compute_at": lambda s: s["P"].compute_at(s["C"], s["C"].split(s["C"].fuse("i", "j"), factor=8)[0]),
    "transform_layout": lambda s: s["P"].transform_layout(lambda i, j: (j // 4, i, j % 4)),
    "store_at": stored,
    "cache_write": cached,
    "cache_read": shared,
    "bind vthread": lambda s: s["C"].bind(s["C"].split("i", nparts=2)[0], "vthread"),
    "bind a reduction": lambda s: s["C"].bind(split(s, "C", "k")[1], "threadIdx.x"),
    "set_scope": lambda s: s["P"].set_scope("local"),
    "specialize": specialized,
    "compute_inline": lambda s: s["P"].compute_inline(),
    "add_unit_loop": lambda s: s["C"].add_unit_loop("i"),
    "create_group": grouped,
    "pad_einsum": padded,
    "pad_einsum along one axis": lambda s: s.pad_einsum("C", [1, 4, 1]),
    "reindex": lambda s: s.reindex("C", "P"),
    "reindex, compute_at": lambda s: s[s.reindex("C", "P")].compute_at(s["C"], split(s, "C", "i")[0]),
    "pad_value": lambda s: s["P"].transform_layout(lambda i, j: (j // 4, i, j % 4), pad_value=0),
    "pad_value, split": pad_value_in_vectors,
}


@pytest.mark.parametrize("name", WORKS)
def test_one_kernel_for_all_sizes(name: str) -> None:
    s = program()
    WORKS[name](s)
    kernel = fs.build(s)
    for shape in SHAPES:
        rng = np.random.default_rng(0)
        a, b = (rng.integers(-3, 4, size).astype("int32") for size in (shape, shape[::-1]))
        np.testing.assert_array_equal(kernel(a, b), np.maximum((a + 1) @ b - 1, 0), err_msg=str(s))
    check_round_trip(s)


REFUSED: dict[str, tuple[Step, str]] = {
    "split": (lambda s: s["C"].split("i", factor=s.inputs[0].shape[0]), "factor must be an integer, got n"),
    "tail pad": (lambda s: split(s, "P", "j", tail="pad"), "can be padded only where its length is a number"),
    "tail shift": (lambda s: split(s, "P", "j", tail="shift"), "can be shifted only where its length is a number"),
    "prefetch": (lambda s: s["P"].prefetch("A", "i", 2), "reads depends on a size"),
    "unroll": (lambda s: s["C"].unroll("i"), "'i' has n turns, and only a loop whose turns are a number"),
    "vectorize": (lambda s: s["P"].vectorize("j"), "'j' has m turns, and only a loop whose turns are a number"),
    "bind": (lambda s: s["C"].bind("j", "threadIdx.x"), "only a loop whose turns are a number can be bound"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_needs_numbers_says_so(name: str) -> None:
    step, says = REFUSED[name]
    with pytest.raises(ScheduleError, match=says) as raised:
        step(program())
    assert raised.value.hint
