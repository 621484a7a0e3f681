# A primitive takes its own arguments.
from flashsched import te

A = te.placeholder((8, 8), name="A")
C = te.compute((8, 8), lambda i, j: A[i, j] + 1, name="C")
s = te.create_schedule(C)
s.apply("split", "C", {"loop": "i", "factr": 4})
# -> ArgumentError
# split('i', factr=4): no argument named 'factr'
#   at unknown_argument.py:7
#   hint: did you mean factor?
