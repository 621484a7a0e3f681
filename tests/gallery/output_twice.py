# Each output is named once.
from flashsched import te

A = te.placeholder((8, 8), name="A")
C = te.compute((8, 8), lambda i, j: A[i, j] + 1, name="C")
s = te.create_schedule(C)
te.create_schedule([C, C])
# -> ArgumentError
# output C is named twice
#   at output_twice.py:7
#   hint: name each output once
