# A schedule knows the tensors that it computes.
from flashsched import te

A = te.placeholder((8, 8), name="A")
C = te.compute((8, 8), lambda i, j: A[i, j] + 1, name="C")
s = te.create_schedule(C)
D = te.compute((8,), lambda i: A[i, 0], name="D")
s[D].unroll("i")
# -> UnknownNameError
# D is no stage of this schedule
#   at tensor_of_another_program.py:8
#   hint: its stages: C
