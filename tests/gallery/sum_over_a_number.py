# An axis is no number, as in NumPy.
from flashsched import te

A = te.placeholder((8, 8), name="A")
te.compute((8,), lambda i: te.sum(A[i, 0], axis=(1,)))
# -> AxisError
# sum: axis must be a te.reduce_axis or several, not (1,)
#   at sum_over_a_number.py:5
#   hint: declare k = te.reduce_axis((0, n)), and say axis=k
