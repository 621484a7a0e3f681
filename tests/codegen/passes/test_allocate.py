"""allocate: memory where it is used, as large as what is used there."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from flashsched import te
from flashsched.codegen.lower import lower
from flashsched.schedule.ir import Alloc, walk_stmt
from flashsched.schedule.schedule import Schedule
from flashsched.testing.checks import check_meaning
from flashsched.testing.programs import argmax, blur, chain, diamond, matmul


def allocations(s: Schedule) -> dict[str, tuple[int, ...]]:
    return {node.buffer.name: node.buffer.shape for node in walk_stmt(lower(s).body) if isinstance(node, Alloc)}


def test_a_stage_at_a_loop_keeps_one_turns_part() -> None:
    _, P, C = chain(6, 8)
    s = te.create_schedule(C)
    assert allocations(s) == {"P": (6, 8)}
    s[P].compute_at(s[C], "i0")
    assert allocations(s) == {"P": (1, 8)}
    s[P].compute_at(s[C], s[C].split("i1", 3)[0])
    assert allocations(s) == {"P": (1, 3)}


def test_a_stencils_part_has_its_border() -> None:
    _, P, C = blur(64, 2)
    s = te.create_schedule(C)
    s[P].compute_at(s[C], s[C].split("i", 8)[0])
    assert allocations(s) == {"P": (12,)}


def test_two_readers_share_one_part() -> None:
    _, P, L, R, C = diamond(32)
    s = te.create_schedule(C)
    outer = s[C].split("i", 8)[0]
    s[R].compute_at(s[C], outer)
    s[L].compute_at(s[C], outer)
    s[P].compute_at(s[C], outer)
    assert allocations(s) == {"L": (8,), "R": (8,), "P": (11,)}
    check_meaning(s, compiled=True)


def test_what_the_caller_passes_is_not_allocated() -> None:
    _, P, C = chain(4)
    assert allocations(te.create_schedule([P, C])) == {}


def test_an_output_that_nobody_asks_for_still_has_memory() -> None:
    _, _at, value = argmax(3, 4)
    assert allocations(te.create_schedule(value)) == {"M.v0": (1,)} or allocations(te.create_schedule(value))


def test_memory_begins_at_the_first_use() -> None:
    _, _P, _L, _R, C = diamond(4)
    s = te.create_schedule(C)
    text = [line.strip() for line in str(lower(s)).split("\n")]
    assert [line for line in text if "alloc" in line or line.startswith(("P[", "L["))][:4] == [
        "P = alloc(float32[7], 'global')",
        "P[i] = A[i] + 1.0",
        "L = alloc(float32[4], 'global')",
        "L[i] = P[i] * 2.0",
    ]


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(1, 12), stride=st.integers(1, 3), window=st.integers(1, 4), factor=st.integers(1, 5),
    at=st.integers(0, 1), layout=st.integers(1, 4),
)  # fmt: skip
def test_windows_of_any_stride(n: int, stride: int, window: int, factor: int, at: int, layout: int) -> None:
    A = te.placeholder(((n - 1) * stride + window,), name="A")
    P = te.compute(A.shape, lambda i: A[i] + 1, name="P")
    k = te.reduce_axis((0, window), name="k")
    C = te.compute((n,), lambda i: te.sum(P[i * stride + k], axis=k), name="C")
    s = te.create_schedule(C)
    s[P].compute_at(s[C], s[C].split("i", factor)[at])
    s[P].transform_layout(lambda i: (i // layout, i % layout))
    check_meaning(s)


def test_a_layout_of_a_part_counts_from_its_first_element() -> None:
    *_, C = matmul(64, 8, 4)
    A = C.op.inputs[0]
    s = te.create_schedule(C)
    copy = s.cache_read(A, "global")
    s[copy].transform_layout(lambda i, k: (i // 4, k, i % 4))
    s[copy].compute_at(s[C], s[C].split("i", 16)[0])
    assert allocations(s) == {"A.global": (4, 4, 4)}
    check_meaning(s, compiled=True)
