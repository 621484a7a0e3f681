# Outputs of one stage share its loops.
from flashsched import te

A = te.placeholder((8, 8), name="A")
k = te.reduce_axis((0, 8), name="k")
te.compute((8,), lambda i: (te.sum(A[i, k], axis=k), A[i, 0]), name="C")
# -> AxisError
# C: some outputs are reductions and some are not
#   at half_a_reduction.py:6
#   hint: compute them in two te.compute: outputs of one share all their loops
