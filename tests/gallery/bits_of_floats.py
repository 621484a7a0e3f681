# Bit operations work on integers.
from flashsched import te

A = te.placeholder((8, 8), name="A")
te.compute((8, 8), lambda i, j: A[i, j] & 1.0)
# -> DtypeError
# '&' works on integers and bools, not on float32: A[i, j] & 1.0
#   at bits_of_floats.py:5
#   hint: cast first: .astype('int32')
