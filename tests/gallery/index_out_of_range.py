# A constant index lies inside the tensor.
from flashsched import te

A = te.placeholder((8, 8), name="A")
te.compute((8,), lambda i: A[i, 8])
# -> ShapeError
# A[i, 8]: index 1 is 8, and the dimension has 8 elements
#   at index_out_of_range.py:5
#   hint: indices count from 0, and none from the end
