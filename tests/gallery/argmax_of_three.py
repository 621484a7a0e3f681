# What is compared is one value, or a place and a value.
from flashsched import te

A = te.placeholder((8, 8), name="A")
k = te.reduce_axis((0, 8), name="k")
te.compute((8,), lambda i: te.argmax((k, A[i, k], A[i, k]), axis=k))
# -> ReducerError
# argmax takes a value or a pair (place, value), and was given 3 values
#   at argmax_of_three.py:6
#   hint: give one of them
