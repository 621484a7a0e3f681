"""cut_tails: full tiles without conditions, the rest by itself."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from flashsched import te
from flashsched.codegen.lower import lower
from flashsched.schedule.ir import For, If, LoopKind, walk_stmt
from flashsched.schedule.schedule import Schedule
from flashsched.testing.checks import check_meaning
from flashsched.testing.programs import blur, matmul, pointwise


def lines(s: Schedule) -> list[str]:
    return str(lower(s)).split("\n")[1:]


def test_once_a_tile() -> None:
    _, C = pointwise(10)
    s = te.create_schedule(C)
    s[C].split("i", 4, tail="cut")
    assert lines(s) == [
        "  for i.o in range(3):",
        "    if i.o * 4 < 7:",
        "      for i.i in range(4):  # tail=cut",
        "        C[i.o * 4 + i.i] = A[i.o * 4 + i.i] * 2.0 + 1.0",
        "    else:",
        "      for i.i in range(2):  # tail=cut",
        "        C[i.o * 4 + i.i] = A[i.o * 4 + i.i] * 2.0 + 1.0",
    ]


def test_a_guard_stays_a_guard() -> None:
    _, C = pointwise(10)
    s = te.create_schedule(C)
    s[C].split("i", 4, tail="guard")
    s[C].vectorize("i.i")
    assert lines(s)[1:3] == ["    for i.i in range(4):  # vectorize", "      if i.o * 4 + i.i < 10:"]


def test_both_tails_of_a_tile_make_four_kinds() -> None:
    _, C = pointwise(10, 11)
    s = te.create_schedule(C)
    _, _, ii, ji = s[C].tile("i0", "i1", 4, 3, tail="cut")
    s[C].unroll(ii)
    s[C].vectorize(ji)
    text = "\n".join(lines(s))
    assert text.count("if i0.o") == 1
    assert text.count("if i1.o") == 2
    assert text.count("if i1.i < 2") == 4 + 2  # the last vectors are masked, with a mask that never changes
    assert text.count("# vectorize") == 4 + 4 + 2 + 2
    check_meaning(s, compiled=True)


def conditions_in(s: Schedule, kind: LoopKind) -> int:
    """How many conditions stand inside loops of *kind* in the lowered nest."""
    found = [node for node in walk_stmt(lower(s).body) if isinstance(node, For) and node.kind is kind]
    return sum(isinstance(inner, If) for node in found for inner in walk_stmt(node.body))


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 40), first=st.integers(1, 9), second=st.integers(1, 5), compiled=st.booleans(),
    tails=st.tuples(*[st.sampled_from(["guard", "cut"])] * 2), unrolled=st.booleans(),
)  # fmt: skip
def test_any_two_splits(
    n: int, first: int, second: int, compiled: bool, tails: tuple[str, str], unrolled: bool
) -> None:
    _, C = pointwise(n)
    s = te.create_schedule(C)
    outer, inner = s[C].split("i", first, tail=tails[0])
    _, innermost = s[C].split(inner, second, tail=tails[1])
    s[C].vectorize(innermost)
    if unrolled:
        s[C].unroll(outer)
    check_meaning(s, compiled=compiled and n > 20)


@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 60), factor=st.integers(1, 16))
def test_full_vectors_have_no_mask(n: int, factor: int) -> None:
    _, C = pointwise(3, n)
    s = te.create_schedule(C)
    _, inner = s[C].split("i1", factor, tail="cut")
    s[C].vectorize(inner)
    assert conditions_in(s, LoopKind.VECTORIZE) == (1 if n % factor else 0)  # of the last tile, constant


@settings(max_examples=25, deadline=None)
@given(
    m=st.integers(1, 20), n=st.integers(1, 20), k=st.integers(0, 5), x=st.integers(1, 5), y=st.integers(2, 8),
    inner=st.integers(1, 3),
)  # fmt: skip
def test_a_micro_kernel_with_two_levels_of_tiles(m: int, n: int, k: int, x: int, y: int, inner: int) -> None:
    *_, C = matmul(m, n, k)
    s = te.create_schedule(C)
    CL = s.cache_write(C, "local")
    i, j = s[C].op.axis
    ic, im = s[C].split(i, x * inner, tail="cut")
    ir, ii = s[C].split(im, x)
    jr, jj = s[C].split(j, y, tail="cut")
    s[C].reorder(ic, jr, ir, ii, jj)
    s[C].unroll(ii)
    s[C].vectorize(jj)
    s[CL].compute_at(s[C], ir)
    s[CL].reorder("k", "i", "j")
    s[CL].unroll("i")
    s[CL].vectorize("j")
    s[C].parallel(ic)
    check_meaning(s, compiled=True)


def test_padding_and_tails_together() -> None:
    for tail in ("guard", "cut"):
        _, P, C = blur(11)
        s = te.create_schedule(C)
        outer, inner = s[C].split("i", 4, tail=tail)
        s[P].compute_at(s[C], outer)
        s[P].split("i", 4, tail=tail)
        s[P].vectorize("i.i")
        s[C].vectorize(inner)
        check_meaning(s, compiled=True)
