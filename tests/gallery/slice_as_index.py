# An index is one position.
from flashsched import te

A = te.placeholder((8, 8), name="A")
te.compute((8,), lambda i: A[i, 0:4])
# -> ShapeError
# A[i, :4]: an index is one position, not a slice
#   at slice_as_index.py:5
#   hint: write a te.compute over the part that you mean
