# Indices do not count from the end.
from flashsched import te

A = te.placeholder((8, 8), name="A")
te.compute((8,), lambda i: A[i, -1])
# -> ShapeError
# A[i, -1]: index 1 is -1, and the dimension has 8 elements
#   at negative_index.py:5
#   hint: indices count from 0, and none from the end
