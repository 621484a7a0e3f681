"""A drawn graph, written as Python and run, is the same graph."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flashsched import te
from flashsched.te.evaluate import run_graph
from flashsched.te.scalars import scalar_tensor
from flashsched.testing.graph_python import graph_python, identifier
from flashsched.testing.graphs import REDUCERS, Graph, graphs, some_sizes


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(graphs(sized=True), st.data())
def test_the_program_declares_the_same_graph(drawn: Graph, data: st.DataObject) -> None:
    text = graph_python(drawn.outputs, {name: name for name in REDUCERS}, drawn.inputs)
    names: dict[str, Any] = {"te": te, **REDUCERS}
    exec(text, names)
    outputs = [names[identifier(tensor.name)] for tensor in drawn.outputs]
    inputs = [scalar_tensor(names[identifier(tensor.name)]) for tensor in drawn.inputs]
    again = Graph(tuple(inputs), tuple(outputs), drawn.exact, drawn.sizes)
    assert repr(again) == repr(drawn), text
    assert graph_python(outputs, {name: name for name in REDUCERS}, inputs) == text
    feeds = drawn.feeds(0, data.draw(some_sizes(drawn)))
    twins = dict(zip(inputs, feeds.values(), strict=True))
    for ours, theirs in zip(run_graph(outputs, twins), run_graph(drawn.outputs, feeds), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_it_reads_as_a_person_would_write_it() -> None:
    A = te.placeholder((3, 4), "int32", name="A")
    k = te.reduce_axis((1, 4), name="k")
    C = te.compute((3,), lambda i: te.sum(te.select(A[i, k] > 0, A[i, k], -1), axis=k), name="C")
    assert graph_python([C]) == (
        "A = te.placeholder((3, 4), 'int32', 'A')\n"
        "C_k0 = te.reduce_axis((1, 4), 'k')\n"
        "C = te.compute((3,), lambda i: te.sum(te.select((A[i, C_k0] > 0), A[i, C_k0], te.const(-1, 'int32')), "
        "axis=[C_k0]), 'C')\n"
    )


def test_sizes_and_scalars_are_declared() -> None:
    n, m, alpha = te.var("n"), te.var("m"), te.scalar("alpha", "int32")
    A, k = te.placeholder((n, 2 * m), "int32", name="A"), te.reduce_axis((0, m + 1), name="k")
    C = te.compute((n,), lambda i: te.sum(te.select(k < m, alpha * A[i, k], 1), axis=k), name="C")
    text = graph_python([C])
    assert text == (
        "n = te.var('n')\n"
        "m = te.var('m')\n"
        "alpha = te.scalar('alpha', 'int32')\n"
        "A = te.placeholder((n, m * 2), 'int32', 'A')\n"
        "C_k0 = te.reduce_axis((0, m + 1), 'k')\n"
        "C = te.compute((n,), lambda i: te.sum(te.select((C_k0 < m), (alpha * A[i, C_k0]), te.const(1, 'int32')), "
        "axis=[C_k0]), 'C')\n"
    )
    names: dict[str, Any] = {"te": te}
    exec(text, names)
    assert graph_python([names["C"]]) == text
