# Each axis is reduced over once.
from flashsched import te

A = te.placeholder((8, 8), name="A")
k = te.reduce_axis((0, 8), name="k")
te.compute((8,), lambda i: te.sum(A[i, k], axis=[k, k]))
# -> AxisError
# sum: an axis is given twice: k, k
#   at sum_over_twice.py:6
#   hint: name each axis once
