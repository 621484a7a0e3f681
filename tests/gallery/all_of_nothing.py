# A conjunction has parts.
from flashsched import te

A = te.placeholder((8, 8), name="A")
te.compute((8, 8), lambda i, j: te.select(te.all(), A[i, j], 0.0))
# -> ShapeError
# te.all needs at least one condition
#   at all_of_nothing.py:5
#   hint: te.all(i >= 0, i < n)
