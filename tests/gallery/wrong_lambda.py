# The function takes one index for each dimension.
from flashsched import te

A = te.placeholder((8, 8), name="A")
te.compute((8, 8), lambda i: A[i, 0])
# -> ShapeError
# the shape has 2 dimensions, and the function takes 1 (i)
#   at wrong_lambda.py:5
#   hint: give the function one parameter for each dimension, or *indices
