# A tensor has no elements yet.
from flashsched import te

A = te.placeholder((8, 8), name="A")
rows = list(A)
# -> ShapeError
# tensor A can't be looped over
#   at loop_over_tensor.py:5
#   hint: index it: A[i, j]
