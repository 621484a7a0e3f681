"""Nests read into sites: how often, what is touched, where buffers lie."""

from __future__ import annotations

from collections import OrderedDict

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flashsched import te
from flashsched.codegen.analysis.arithmetic import count
from flashsched.codegen.analysis.forms import values
from flashsched.codegen.analysis.reading import Nest, read_nests, turns
from flashsched.codegen.analysis.traffic import LINE, USABLE, Traffic
from flashsched.codegen.lower import lower
from flashsched.schedule.ir import Alloc, walk_stmt
from flashsched.schedule.schedule import Schedule
from flashsched.testing.graphs import Graph, graphs
from flashsched.testing.programs import matmul
from flashsched.testing.schedules import GPU_PRIMITIVES, schedules


@given(st.data())
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=50)
def test_buffers_lie_where_lowering_puts_them(data: st.DataObject) -> None:
    graph: Graph = data.draw(graphs())
    schedule: Schedule = data.draw(schedules(graph.outputs, primitives=GPU_PRIMITIVES))
    lowered = {
        node.buffer.name: node.buffer.shape for node in walk_stmt(lower(schedule).body) if isinstance(node, Alloc)
    }
    for nest in read_nests(schedule.state):
        for memory in nest.memories:
            name = memory.buffer.name
            if not memory.kept and name in lowered and 0 not in memory.shape:
                real = lowered[name]
                if len(real) > len(memory.shape):
                    versions, *real = real
                    assert memory.versions == versions
                else:
                    assert memory.versions == 1
                assert len(memory.shape) == len(real)
                assert all(mine <= its for mine, its in zip(memory.shape, real, strict=True))


def test_a_tile_is_as_large_as_what_is_used_of_it() -> None:
    _, b, c = matmul(100, 60, 40)
    s = te.create_schedule(c)
    near = s.cache_write(c, "local")
    packed = s.cache_read(b, "global", [near])
    i, j = s[c].op.axis
    io, ii = s[c].split(i, 8)
    jo, _ = s[c].split(j, 16)
    s[c].reorder(io, jo, ii)
    s[near].compute_at(s[c], jo)
    s[packed].compute_at(s[c], jo)
    s[packed].transform_layout(lambda k, j: (j // 4, k, j % 4))
    (nest,) = read_nests(s.state)
    shapes = {memory.buffer.name: memory.shape for memory in nest.memories}
    assert shapes["C.local"] == (8, 16)
    assert shapes["B.global"] == (4, 40, 4)
    assert shapes["A"] == (100, 40)
    (write,) = [t for site in nest.sites for t in site.touches if t.write and t.memory.buffer.name == "B.global"]
    assert sorted(write.offset.terms.values()) != []
    assert {loop.var.name for loop in write.memory.around} == {"i.o", "j.o"}


@pytest.mark.parametrize(
    ("body", "flops", "fused", "special"),
    [
        (lambda x, y: x + y, 1, 0, 0),
        (lambda x, y: x * y + x, 2, 2, 0),
        (lambda x, y: x + y * x - y * y, 4, 4, 0),
        (lambda x, y: te.maximum(x, 0), 1, 0, 0),
        (lambda x, y: te.exp(x) * y, 1, 0, 1),
        (lambda x, y: x / y, 0, 0, 1),
        (lambda x, y: te.select(x > 0, x, y), 2, 0, 0),
    ],
)
def test_arithmetic_is_counted(body, flops: int, fused: int, special: int) -> None:  # type: ignore[no-untyped-def]
    x, y = te.placeholder((4,), name="x"), te.placeholder((4,), name="y")
    out = te.compute((4,), lambda i: body(x[i], y[i]), name="out")
    (site,) = read_nests(te.create_schedule(out).state)[0].sites
    assert (site.work.total, site.work.fused, site.work.special) == (flops, fused, special)


def test_indices_and_padding_are_no_arithmetic() -> None:
    x = te.placeholder((4,), name="x")
    out = te.compute((6,), lambda i: te.select(te.all(i >= 1, i < 5), x[i - 1], 0.0), name="out")
    (site,) = read_nests(te.create_schedule(out).state)[0].sites
    assert site.work.total == 0
    assert site.work.conditions == len(site.tests) == 2
    assert count(()).total == 0


def test_a_widened_product_keeps_the_name_of_what_is_multiplied() -> None:
    a, b = te.placeholder((8, 8), "float16", name="A"), te.placeholder((8, 8), "float16", name="B")
    k = te.reduce_axis((0, 8), name="k")
    c = te.compute((8, 8), lambda i, j: te.sum(a[i, k].astype("float32") * b[k, j].astype("float32"), axis=k), name="C")
    (site,) = read_nests(te.create_schedule(c).state)[0].sites
    assert site.work.flops == {("float16", "float32"): 2.0}


def test_what_straight_code_reads_is_read_once() -> None:
    *_, c = matmul(64, 64, 64)
    s = te.create_schedule(c)
    i, j = s[c].op.axis
    (k,) = s[c].op.reduce_axis
    io, ii = s[c].split(i, 4)
    jo, ji = s[c].split(j, 8)
    s[c].reorder(io, jo, k, ii, ji)
    s[c].unroll(ii)
    s[c].vectorize(ji)
    (site,) = read_nests(s.state)[0].sites  # it begins C in registers, so it never reads it
    often = {(t.memory.buffer.name, t.write): site.repeated(t.needs) * site.copies(t.needs) for t in site.touches}
    assert often == {
        ("A", False): 16 * 8 * 64 * 4,
        ("B", False): 16 * 8 * 64 * 8,
        ("C", True): 16 * 8 * 32,
    }


class LruCache:
    """A fully associative cache of lines that counts what it fetches."""

    def __init__(self, size: float) -> None:
        self.room, self.lines, self.missed = int(size // LINE), OrderedDict[tuple[int, int], None](), 0

    def touch(self, line: tuple[int, int]) -> None:
        if line in self.lines:
            self.lines.move_to_end(line)
            return
        self.missed += 1
        self.lines[line] = None
        if len(self.lines) > self.room:
            self.lines.popitem(last=False)


def simulated(nest: Nest, size: float) -> float:
    """Bytes that a cache fetches when a nest of one site is run, element by element."""
    import itertools

    import numpy as np

    (site,) = nest.sites
    cache = LruCache(size)
    grid = np.array(list(itertools.product(*(range(turns(loop)) for loop in site.loops))), dtype=np.int64)
    points = {loop.var: grid[:, n] for n, loop in enumerate(site.loops)}
    lines = [
        (n, np.broadcast_to(values(t.offset, points) * t.memory.width // LINE, (len(grid),)).tolist())
        for n, t in ((id(t.memory), t) for t in site.touches)
    ]
    for step in range(len(grid)):
        for memory, where in lines:
            cache.touch((memory, where[step]))
    return cache.missed * LINE


@pytest.mark.parametrize("order", ["i j k", "i k j", "k i j", "j k i"])
@pytest.mark.parametrize("size", [1024, 4096, 12000, 100_000])
def test_traffic_is_near_that_of_a_real_cache(order: str, size: int) -> None:
    _, _, c = matmul(32, 48, 32)
    s = te.create_schedule(c)
    loops = {loop.name: loop for loop in s[c].loops}
    s[c].reorder(*(loops[name] for name in order.split()))
    (nest,) = read_nests(s.state)
    traffic = Traffic(nest, set())
    real = simulated(nest, size)
    written = sum(m.size for m in nest.memories if m.buffer.name == "C")
    said = traffic.into(size / USABLE)
    assert real * 0.45 <= said <= 2.2 * real + 2 * written + 512


def test_data_that_fit_are_fetched_once() -> None:
    _, _, c = matmul(64, 64, 64)
    (nest,) = read_nests(te.create_schedule(c).state)
    traffic = Traffic(nest, set())
    assert traffic.footprint == 3 * 64 * 64 * 4
    assert traffic.into(1e9) == 4 * 64 * 64 * 4  # what is written goes both ways
    assert traffic.into(1e3) > 50 * traffic.into(1e9)
