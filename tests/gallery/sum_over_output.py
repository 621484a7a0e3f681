# What is reduced over is declared.
from flashsched import te

A = te.placeholder((8, 8), name="A")
te.compute((8,), lambda i: te.sum(A[i, 0], axis=i))
# -> AxisError
# sum: axis 'i' belongs to the output and can't be reduced over
#   at sum_over_output.py:5
#   hint: declare i = te.reduce_axis((0, 8))
