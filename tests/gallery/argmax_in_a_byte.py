# The dtype of a place counts to the last one.
from flashsched import te

A, k = te.placeholder((999,), name="A"), te.reduce_axis((0, 999), name="k")
te.compute((), lambda: te.argmax(A[k], axis=k, dtype="int8"))
# -> ShapeError
# argmax: there are 999 places, and int8 counts to 127
#   at argmax_in_a_byte.py:5
#   hint: dtype='int64'
