# A NumPy array is given when the kernel is called.
import numpy as np
from flashsched import te

A = te.placeholder((8, 8), name="A")
te.compute((8, 8), lambda i, j: A[i, j] + np.ones((8, 8)))
# -> ShapeError
# a tensor of shape (8, 8) is not a scalar expression
#   at array_in_expression.py:6
#   hint: index it, as in A[i, j]
