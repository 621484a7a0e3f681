# The place of the largest is found over an axis.
from flashsched import te

A = te.placeholder((8, 8), name="A")
te.compute((8,), lambda i: te.argmax(A[i, 0], axis=1))
# -> AxisError
# argmax: axis must be a te.reduce_axis or several, not 1
#   at argmax_over_a_number.py:5
#   hint: axis=te.reduce_axis((0, n))
