# The place of the largest is an integer.
from flashsched import te

A = te.placeholder((8, 8), name="A")
k = te.reduce_axis((0, 8), name="k")
te.compute((8,), lambda i: te.argmax(A[i, k], axis=k, dtype="float32"))
# -> DtypeError
# argmax: a place is an integer, and dtype is float32
#   at argmax_as_float.py:6
#   hint: use 'int64' or 'int32'
