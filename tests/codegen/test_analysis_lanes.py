"""What the lanes of a warp do together: vectors that LLVM finds, sectors, lines and banks, trees of shuffles."""

from __future__ import annotations

import pytest

from flashsched import te
from flashsched.codegen.analysis import nest_works
from flashsched.codegen.analysis.lanes import Threads, vector_width, wavefronts
from flashsched.codegen.analysis.reading import Site, Touch, read_nests
from flashsched.hw import Work
from flashsched.hw.registry import devices
from flashsched.schedule.schedule import Schedule
from flashsched.te.tensor import Tensor
from flashsched.testing.programs import matmul

A100 = devices["a100-sim"]


def staged(unrolled: int) -> tuple[Site, Touch]:
    """How a product reads its tile of A, in shared memory, along k with *unrolled* steps written out."""
    *_, c = matmul(256, 64, 64)
    s = te.create_schedule(c)
    a = s[s.cache_read(c.op.inputs[0], "shared", [c.name])]
    y, x, yi, xi = s[c].tile(*s[c].op.axis, 4, 8)
    for loop, axis in ((y, "blockIdx.y"), (x, "blockIdx.x"), (yi, "threadIdx.y"), (xi, "threadIdx.x")):
        s[c].bind(loop, axis)
    _, ki = s[c].split(s[c].op.reduce_axis[0], factor=unrolled)
    s[c].unroll(ki)
    a.compute_at(s[c], x)
    (nest,) = read_nests(s.state)
    return next((site, t) for site in nest.sites for t in site.touches if t.memory.is_shared and not t.write)


@pytest.mark.parametrize(("unrolled", "width", "passes"), [(1, 1, (1, 4)), (2, 2, (0.5, 2)), (8, 4, (0.5, 1))])
def test_an_unrolled_loop_along_memory_is_read_in_vectors(
    unrolled: int, width: int, passes: tuple[float, float]
) -> None:
    """Four rows, all in one bank; each is read by eight lanes, so that two halves or quarters of a warp go together."""
    site, touch = staged(unrolled)
    assert vector_width(site, touch) == width
    assert wavefronts(site, touch, Threads(8, 4, 1, 32)) == passes


def elementwise(across: bool) -> Work:
    x = te.placeholder((1024, 1024), name="x")
    y = te.compute((1024, 1024), lambda i, j: (x[j, i] if across else x[i, j]) + 1, name="y")
    s = te.create_schedule(y)
    rows, columns, row, column = s[y].tile(*s[y].op.axis, 8, 32)
    for loop, axis in ((rows, "blockIdx.y"), (columns, "blockIdx.x"), (row, "threadIdx.y"), (column, "threadIdx.x")):
        s[y].bind(loop, axis)
    return nest_works(s, A100)[0]


def test_lanes_in_as_many_lines_are_looked_up_one_by_one() -> None:
    n = 1024 * 1024
    assert elementwise(False).global_lane_bytes == n * (4 + 4)
    assert elementwise(True).global_lane_bytes == n * (128 + 4)


def sums(threads: int, inside: bool) -> tuple[Schedule, Tensor]:
    """A sum along rows: a row a thread, or *threads* for each row that combine once or, *inside*, in each turn."""
    x = te.placeholder((4096, 1024), name="x")
    k = te.reduce_axis((0, 1024), name="k")
    y = te.compute((4096,), lambda i: te.sum(x[i, k], axis=k), name="y")
    s = te.create_schedule(y)
    row = s[y].op.axis[0]
    if threads == 1:
        block, thread = s[y].split(row, 64)
        s[y].bind(block, "blockIdx.x")
        s[y].bind(thread, "threadIdx.x")
        return s, y
    ko, ki = s[y].split(k, factor=threads) if inside else s[y].split(k, nparts=threads)
    s[y].bind(row, "blockIdx.x")
    s[y].bind(ki if inside else ko, "threadIdx.x")
    return s, y


def test_what_turns_share_of_a_sector_is_fetched_once() -> None:
    (work,) = nest_works(sums(1, False)[0], A100)
    assert work.coalescing == pytest.approx(1.0, abs=0.01)  # each thread reads its row, eight elements a sector
    assert work.bytes_in_flight == pytest.approx(32, rel=0.01)  # while it waits for one
    assert 1024 / 8 < work.steps < 1024 / 8 * 1.8  # the others are found in L1


def test_a_tree_in_each_turn_is_waited_for_in_each_turn() -> None:
    (once,), (each,) = (nest_works(sums(32, inside)[0], A100) for inside in (False, True))
    assert (once.barriers, each.barriers) == (5, 5 * 32)
    assert each.steps > 32  # and what the lanes have is added up in memory
