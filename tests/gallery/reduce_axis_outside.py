# A reduce axis has a value inside its reduction only.
from flashsched import te

A = te.placeholder((8, 8), name="A")
k = te.reduce_axis((0, 8), name="k")
te.compute((8,), lambda i: A[i, k])
# -> AxisError
# compute: axis 'k' is used outside te.sum or another reducer
#   | compute = A[i, k]
#   at reduce_axis_outside.py:6
#   hint: te.sum(..., axis=k)
