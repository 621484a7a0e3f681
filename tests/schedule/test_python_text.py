"""A trace as the Python that a person would have written."""

from __future__ import annotations

from hypothesis import given, settings

from flashsched import te
from flashsched.testing.checks import check_round_trip
from flashsched.testing.graphs import graphs
from flashsched.testing.programs import argmax, matmul, pointwise
from flashsched.testing.schedules import GPU_PRIMITIVES, schedules


def test_the_program_of_a_tiled_matmul() -> None:
    A, _, C = matmul(64, 64, 64)
    s = te.create_schedule(C)
    CL = s.cache_write(C, "local")
    io, jo, ii, ji = s[C].tile(*s[C].op.axis, 8, 16, tail="cut")
    s[CL].compute_at(s[C], jo)
    copy = s.cache_read(A, "global", [CL])
    s[copy].transform_layout(lambda i, k: (i // 8, k, i % 8))
    s[CL].reorder("k", "i", "j")
    s[CL].vectorize("j")
    s[C].parallel(io)
    s[C].unroll(ii)
    s[C].vectorize(ji)
    assert s.to_python() == (
        "s = te.create_schedule(C)\n"
        'C_local = s.cache_write(C, "local")\n'
        "i, j = s[C].op.axis\n"
        'io, jo, ii, ji = s[C].tile(i, j, x_factor=8, y_factor=16, tail="cut")\n'
        "s[C_local].compute_at(s[C], jo)\n"
        'A_global = s.cache_read(A, "global", readers=[C_local])\n'
        's[A_global].transform_layout("i, k -> i // 8, k, i % 8")\n'
        "\n"
        "i2, j2 = s[C_local].op.axis\n"
        "k = s[C_local].op.reduce_axis[0]\n"
        "s[C_local].reorder(k, i2, j2)\n"
        "s[C_local].vectorize(j2)\n"
        "\n"
        "s[C].parallel(io)\n"
        "s[C].unroll(ii)\n"
        "s[C].vectorize(ji)\n"
    )
    check_round_trip(s)


def test_nothing_done_is_one_line() -> None:
    assert te.create_schedule(pointwise(4)[1]).to_python() == "s = te.create_schedule(C)\n"


def test_several_outputs_and_odd_names() -> None:
    _, at, value = argmax(3, 4)
    s = te.create_schedule([value, at])
    near, _ = s.cache_write(at, "local")
    s[near].unroll("i")
    assert s.to_python() == (
        "s = te.create_schedule([M_v1, M_v0])\n"
        'M_local_v0, _ = s.cache_write(M_v0, "local")\n'
        "i = s[M_local_v0].op.axis[0]\n"
        "s[M_local_v0].unroll(i)\n"
    )
    check_round_trip(s)
    A = te.placeholder((3,), name="1 input")
    C = te.compute((3,), lambda i: A[i] + 1, name="s")
    t = te.create_schedule(C)
    t.cache_read(A, "local")
    assert t.to_python() == 's = te.create_schedule(s2)\ns.cache_read(_1_input, "local")\n'


def test_what_is_not_used_later_has_no_variable() -> None:
    _, C = pointwise(8, 9, 10)
    s = te.create_schedule(C)
    outer, _ = s[C].split("i1", 2)
    s[C].split(outer, 3)
    s[C].unroll("i2")
    assert s.to_python() == (
        "s = te.create_schedule(C)\n"
        "_, i1, i2 = s[C].op.axis\n"
        "i1o, _ = s[C].split(i1, factor=2)\n"
        "s[C].split(i1o, factor=3)\n"
        "s[C].unroll(i2)\n"
    )
    check_round_trip(s)


def test_names_that_python_keeps_to_itself() -> None:
    A = te.placeholder((4, 5), name="A")
    C = te.compute((4, 5), lambda i, n: A[i, n] + 1, name="lambda")
    s = te.create_schedule(C)
    s[C].unroll(s[C].fuse("i", "n"))
    assert s.to_python().splitlines() == [
        "s = te.create_schedule(lambda_)",
        "i, n = s[lambda_].op.axis",
        "in_ = s[lambda_].fuse(i, n)",
        "s[lambda_].unroll(in_)",
    ]


@settings(max_examples=60, deadline=None)
@given(graphs().flatmap(lambda drawn: schedules(drawn.outputs, most_steps=20, primitives=GPU_PRIMITIVES)))
def test_the_program_makes_an_equal_trace(schedule: te.Tensor) -> None:
    check_round_trip(schedule)  # type: ignore[arg-type]
