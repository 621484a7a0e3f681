# A reduction is a stage of its own.
from flashsched import te

A = te.placeholder((8, 8), name="A")
k = te.reduce_axis((0, 8), name="k")
te.compute((8,), lambda i: te.sum(A[i, k], axis=k) + 1, name="C")
# -> AxisError
# C: a reduction must be the whole expression, and here it is a part
#   | C = sum(A[i, k], axis=k) + 1.0    <-- sum(A[i, k], axis=k)
#   at sum_inside_expression.py:6
#   hint: compute the reduction in a te.compute of its own, and use that tensor here
