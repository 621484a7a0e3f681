# Two reductions are two stages.
from flashsched import te

A = te.placeholder((8, 8), name="A")
k = te.reduce_axis((0, 8), name="k")
te.compute((8,), lambda i: (te.sum(A[i, k], axis=k), te.max(A[i, k], axis=k)), name="C")
# -> AxisError
# C: several outputs of a reduction must come from one reducer over the same axes
#   at two_reductions.py:6
#   hint: declare a tuple reducer with te.comm_reducer, and call it once
