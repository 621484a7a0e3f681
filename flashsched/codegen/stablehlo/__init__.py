"""A te graph as StableHLO text, which XLA compiles for TPUs: whole arrays, no loops, and no schedule.

`writer` knows the operations of StableHLO, `values` makes arrays of expressions, `export` a module of a graph.
"""

from __future__ import annotations

from flashsched.codegen.stablehlo.export import to_stablehlo

__all__ = ["to_stablehlo"]
