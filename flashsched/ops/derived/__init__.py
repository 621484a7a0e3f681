"""Search spaces that are derived: a template for any te graph, made of rules that read the graph.

- ``accesses``: what each axis does to each element that is read or written; all rules read from there.
- ``inlining``: which stages are computed where they are read.
- ``windows``: which windows are combined a row at a time.
- ``nests``: which of the others share loops.
- ``vectors``: along which axis the vectors of a nest run, and along which others its operands are used again.
- ``tiles``: register tiles and blocks, their ordered choices and the first ones to try.
- ``lanes``: reductions with vectors along what is reduced, or shared out among threads.
- ``packing``: copies of operands in the order in which tiles read them.
- ``cpu``, ``gpu``: the templates, which take the steps.
"""

from __future__ import annotations

from collections.abc import Mapping

from flashsched.ops.derived.cpu import derived_cpu
from flashsched.ops.derived.gpu import derived_gpu
from flashsched.ops.operator import Template

__all__ = ["DERIVED", "derived_cpu", "derived_gpu"]

DERIVED: Mapping[str, Template] = {"cpu": derived_cpu, "gpu": derived_gpu}
"""The template of a graph that has none of its own, by the kind of device."""
