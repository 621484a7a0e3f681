"""One of many calls on the same data: what a CPU's caches still hold of it."""

from __future__ import annotations

from flashsched import te
from flashsched.codegen.analysis import nest_works, simulate
from flashsched.hw.registry import devices
from flashsched.schedule.schedule import Schedule

A100, XEON = devices["a100-sim"], devices["cpu-xeon-sim"]


def doubled(n: int, *, past: bool = False, parallel: bool = False) -> Schedule:
    """``B = 2 A`` over n rows of 1,024 elements."""
    a = te.placeholder((n, 1024), name="A")
    b = te.compute((n, 1024), lambda i, j: a[i, j] * 2.0, name="B")
    s = te.create_schedule(b)
    i, j = s[b].op.axis
    j_out, j = s[b].split(j, factor=16)
    s[b].vectorize(j)
    if parallel:
        s[b].parallel(i)
    if past:
        s[b].pragma(j_out, "nontemporal")
    return s


def test_what_fits_a_cache_is_there_at_the_second_call() -> None:
    small, large = doubled(16), doubled(1 << 15)  # 128 KB, which fit the second level, and 256 MB, which fit none
    (first,), (again,) = nest_works(small, XEON), nest_works(small, XEON, warm=True)
    assert first.dram_bytes > 0 < first.level_bytes["l3"]
    assert (again.dram_bytes, again.level_bytes["l3"]) == (0, 0)
    assert again.level_bytes["l2"] == first.level_bytes["l2"] > 0  # they do not fit the first
    assert simulate(small, XEON, warm=True).time_s < simulate(small, XEON).time_s / 2
    (first,), (again,) = nest_works(large, XEON), nest_works(large, XEON, warm=True)
    assert (again.dram_bytes, again.level_bytes) == (first.dram_bytes, first.level_bytes)
    assert simulate(large, XEON, warm=True).time_s == simulate(large, XEON).time_s


def test_stores_past_the_caches_go_to_memory_whatever_fits() -> None:
    (kept,), (past,) = (nest_works(doubled(16, past=past), XEON, warm=True) for past in (False, True))
    assert kept.dram_bytes == 0
    assert past.dram_bytes == 16 * 1024 * 4  # once, and not read before
    times = [simulate(doubled(16, past=past), XEON, warm=True).time_s for past in (False, True)]
    assert times[0] < times[1]
    times = [simulate(doubled(1 << 15, past=past), XEON, warm=True).time_s for past in (False, True)]
    assert times[1] < times[0]


def test_a_core_holds_what_it_touches_itself() -> None:
    size = XEON.level("l2").size_bytes
    rows = 4 * size // (2 * 4 * 1024)  # four times the second level, for more than eight cores
    (alone,) = nest_works(doubled(rows), XEON, warm=True)
    (shared,) = nest_works(doubled(rows, parallel=True), XEON, warm=True)
    assert alone.level_bytes["l3"] > 0 == shared.level_bytes["l3"]


def test_all_nests_of_a_call_need_room() -> None:
    a = te.placeholder((32, 1024), name="A")
    b = te.compute((32, 1024), lambda i, j: a[i, j] + 1.0, name="B")
    c = te.compute((32, 1024), lambda i, j: b[i, j] * b[i, j], name="C")
    spec = XEON.replace(memory={"l2": {"size_bytes": 2 * 32 * 1024 * 4 * 4 // 3}})  # for two of three arrays
    both = nest_works(te.create_schedule(c), spec, warm=True)
    assert all(work.level_bytes["l3"] > 0 for work in both)
