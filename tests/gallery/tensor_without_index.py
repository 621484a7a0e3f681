# An expression is about one element.
from flashsched import te

A = te.placeholder((8, 8), name="A")
te.compute((8, 8), lambda i, j: te.exp(A))
# -> ShapeError
# tensor A of shape [8, 8] is not a scalar expression
#   at tensor_without_index.py:5
#   hint: index it: A[i, j]
