# An axis belongs to one stage.
from flashsched import te

A = te.placeholder((8,), name="A")
P = te.compute((8,), lambda i: A[i] + 1, name="P")
C = te.compute((8,), lambda i: P[i] * 2, name="C")
s = te.create_schedule(C)
s[C].unroll(P.op.axis[0])
# -> UnknownNameError
# axis 'i' is not one of stage 'C'
#   at axis_of_another_stage.py:8
#   hint: take it from s[C].op: i
