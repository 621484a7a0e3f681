# An element is one value.
from flashsched import te

A = te.placeholder((8, 8), name="A")
te.compute((8, 8), lambda i, j: sum(A[i, j]))
# -> ShapeError
# A[i, j] is a single value and can't be looped over
#   at loop_over_element.py:5
#   hint: use te.sum(..., axis=k)
