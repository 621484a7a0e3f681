# A reduction is not reduced again in one stage.
from flashsched import te

A = te.placeholder((8, 8), name="A")
k, l = te.reduce_axis((0, 8), name="k"), te.reduce_axis((0, 8), name="l")
te.compute((), lambda: te.sum(te.sum(A[k, l], axis=k), axis=l))
# -> AxisError
# sum: a reduction of a reduction: sum(A[k, l], axis=k)
#   at sum_of_sum.py:6
#   hint: reduce over both axes
