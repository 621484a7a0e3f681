# A trace names primitives that there are.
from flashsched import te

A = te.placeholder((8, 8), name="A")
C = te.compute((8, 8), lambda i, j: A[i, j] + 1, name="C")
s = te.create_schedule(C)
s.apply("splt", "C", {"loop": "i", "factor": 4})
# -> UnknownNameError
# no primitive named 'splt'
#   at unknown_primitive.py:7
#   hint: did you mean split?
