"""Copies under way while threads compute: what each barrier waits for, on threads, and as PTX."""

from __future__ import annotations

import re

import numpy as np
import pytest

import flashsched as fs
from flashsched import te
from flashsched.codegen.gpu import in_flight
from flashsched.codegen.gpu.build import build_gpu, lower_gpu
from flashsched.codegen.gpu.copies import with_late_copies
from flashsched.codegen.gpu.plan import plan_of
from flashsched.codegen.gpu.target import GpuArch
from flashsched.schedule.barrier import Barrier
from flashsched.schedule.ir import walk_stmt
from flashsched.schedule.schedule import Schedule
from flashsched.te.tensor import Tensor
from flashsched.testing.gpu_threads import ThreadError, run_on_threads

SM80 = GpuArch("sm_80")


def ahead(turns: int, stages: int, order: list[int] | None = None, rows: int = 4) -> tuple[Schedule, list[Tensor]]:
    """Tiles of A and B filled *stages* - 1 turns ahead of the 32 threads that use them."""
    A, B = (te.placeholder((turns * rows, 32), name=name) for name in "AB")
    k = te.reduce_axis((0, turns * rows), name="k")
    C = te.compute((32,), lambda j: te.sum(A[k, 31 - j] * B[k, j // 2], axis=k), name="C")
    s = te.create_schedule(C)
    sums = s.cache_write(C, "local")
    copies = [s.cache_read(x, "shared", [sums]) for x in (A, B)]
    s[C].bind("j", "threadIdx.x")
    s[sums].compute_at(s[C], "j")
    ko, _ = s[sums].split("k", factor=rows)
    for copy in copies:
        s[copy].compute_at(s[sums], ko)
        _, thread = s[copy].split(s[copy].fuse(*s[copy].op.axis), factor=32)
        s[copy].bind(thread, "threadIdx.x")
    s[sums].software_pipeline(ko, stages=[0, 0, stages - 1], order=order)
    return s, [A, B, C]


def waits(s: Schedule, args: list[Tensor]) -> list[int]:
    """How many groups each barrier leaves under way, in the order of the text."""
    (launch,) = plan_of(lower_gpu(s, args), "k").launches
    return [b.under_way for b in walk_stmt(with_late_copies(launch, SM80).body) if isinstance(b, Barrier)]


@pytest.mark.parametrize("turns", [1, 2, 3, 9])
@pytest.mark.parametrize(
    ("stages", "order"), [(1, None), (2, None), (3, None), (4, None), (2, [1, 2, 0]), (4, [1, 2, 0])]
)
def test_what_is_copied_late_is_there_in_time(turns: int, stages: int, order: list[int] | None) -> None:
    s, args = ahead(turns, stages, order, rows=2)
    rng = np.random.default_rng(turns)
    a, b = (rng.integers(-3, 4, t.known_shape).astype("float32") for t in args[:2])
    wanted = (a[:, ::-1] * b[:, np.arange(32) // 2]).sum(0)
    np.testing.assert_array_equal(run_on_threads(plan_of(lower_gpu(s, args), "k"), [a, b])[0], wanted)
    np.testing.assert_array_equal(fs.build(s, args)(a, b), wanted)


def test_a_barrier_leaves_under_way_what_later_turns_need() -> None:
    assert waits(*ahead(9, 2)) == [0, 0]
    assert waits(*ahead(9, 3)) == [1, 0]  # the loop, and the turns that empty the pipeline
    assert waits(*ahead(9, 4)) == [2, 0]


def test_a_barrier_that_waits_for_less_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    real = in_flight._Waits._under_way
    monkeypatch.setattr(in_flight._Waits, "_under_way", lambda self, around: real(self, around) + 1)
    s, args = ahead(5, 3)
    a, b = (np.ones(t.known_shape, "float32") for t in args[:2])
    with pytest.raises(ThreadError, match=r"is read by thread \d+, and was never written"):
        run_on_threads(plan_of(lower_gpu(s, args), "k"), [a, b])


def test_groups_are_counted_in_ptx(ptxas: str) -> None:
    s, args = ahead(64, 4)
    kernel = build_gpu(s, args, SM80)
    text = kernel.ptx()
    loop = text[: text.rindex("cp.async.commit_group")]
    assert re.findall(r"cp\.async\.wait_group\s+(\d);", loop)[-1] == "2"
    kernel.resources()
