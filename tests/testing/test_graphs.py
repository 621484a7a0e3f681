"""The drawn graphs are worth testing with: they mean something, differ, and both oracles agree on them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st

from flashsched.codegen.interpreter import interpret_nest
from flashsched.schedule.default import default_state
from flashsched.te.evaluate import run_graph
from flashsched.te.tensor import ComputeOp, graph
from flashsched.testing.graphs import Graph, graphs

QUICK = settings(phases=[Phase.generate], max_examples=2000, suppress_health_check=list(HealthCheck))


def stages(drawn: Graph) -> list[ComputeOp]:
    return [op for op in graph(drawn.outputs) if isinstance(op, ComputeOp)]


@settings(max_examples=120, suppress_health_check=[HealthCheck.too_slow])
@given(graphs(), st.integers(0, 5))
def test_the_default_nest_computes_what_numpy_computes(drawn: Graph, seed: int) -> None:
    feeds = drawn.feeds(seed)
    state = default_state(drawn.outputs)
    buffers = {
        id(tensor): buffer
        for stage in state.stages.values()
        for tensor, buffer in zip(stage.op.outputs, stage.buffers, strict=True)
    }
    by_name = {tensor.name: array for tensor, array in feeds.items()}
    arrays = {buffer: by_name[buffer.name] for buffer in state.params}
    found = interpret_nest(state.body, arrays, [buffers[id(tensor)] for tensor in drawn.outputs])
    drawn.check(found, feeds)


ODD = {
    "rank 0": lambda g: any(not t.shape for t in g.outputs),
    "no elements": lambda g: any(0 in t.shape for t in g.outputs),
    "two values": lambda g: any(len(op.outputs) > 1 for op in stages(g)),
    "two values reduced": lambda g: any(op.reduction is not None and len(op.outputs) > 1 for op in stages(g)),
    "a range that begins elsewhere": lambda g: any(axis.begin for op in stages(g) for axis in op.reduce_axis),
    "nothing to reduce": lambda g: any(axis.extent == 0 for op in stages(g) for axis in op.reduce_axis),
    "several outputs": lambda g: len(g.outputs) > 1,
    "half floats": lambda g: any(t.dtype == "bfloat16" for op in stages(g) for t in op.outputs),
    "two readers": lambda g: any(sum(t.op is op for o in stages(g) for t in o.inputs) > 1 for op in stages(g)),
    "guards": lambda g: "select(" in repr(g),
    "mathematics": lambda g: "exp(" in repr(g),
    "exact": lambda g: g.exact,
}


def test_the_odd_cases_turn_up() -> None:
    seen: set[str] = set()

    @settings(max_examples=400, phases=[Phase.generate], derandomize=True, suppress_health_check=list(HealthCheck))
    @given(graphs())
    def look(drawn: Graph) -> None:
        seen.update(name for name, test in ODD.items() if test(drawn))

    look()
    assert seen == set(ODD)


def test_check_tells_a_wrong_result() -> None:
    drawn = find(graphs(), lambda g: g.exact and g.outputs[0].shape == (3,), settings=QUICK)
    feeds = drawn.feeds()
    right = run_graph(drawn.outputs, feeds)
    drawn.check(right, feeds)
    wrong = [right[0].copy(), *right[1:]]
    wrong[0][1] = ~wrong[0][1] if wrong[0].dtype == bool else wrong[0][1] + 1
    with pytest.raises(AssertionError, match=r"Mismatched elements: 1 / 3"):
        drawn.check(wrong, feeds)
    with pytest.raises(AssertionError, match="has shape"):
        drawn.check([right[0][:2], *right[1:]], feeds)
    with pytest.raises(AssertionError, match="is complex128"):
        drawn.check([right[0].astype(np.complex128), *right[1:]], feeds)
