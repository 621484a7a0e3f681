# A read names one index for each dimension.
from flashsched import te

A = te.placeholder((8, 8), name="A")
te.compute((8,), lambda i: A[i])
# -> ShapeError
# A[i] has 1 index, and A has 2 dimensions [8, 8]
#   at too_few_indices.py:5
#   hint: give one index for each dimension: A[i, j]
