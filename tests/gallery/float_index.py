# An index is an integer.
from flashsched import te

A = te.placeholder((8, 8), name="A")
te.compute((8, 8), lambda i, j: A[i, A[i, j]])
# -> DtypeError
# A[i, A[i, j]]: index 1 is float32, not an integer
#   at float_index.py:5
#   hint: cast it
