# A stage is not inside itself.
from flashsched import te

A = te.placeholder((8,), name="A")
P = te.compute((8,), lambda i: A[i] + 1, name="P")
C = te.compute((8,), lambda i: P[i] * 2, name="C")
s = te.create_schedule(C)
s[P].compute_at(s[P], "i")
# -> ArgumentError
# compute_at('P', 'i'): 'P' can't be computed inside itself
#   | for i in range(8):
#   |   P(i=i):  <--
#   |     P[i] = A[i] + 1.0
#   | for i in range(8):
#   |   C(i=i):
#   |     C[i] = P[i] * 2.0
#   at compute_at_itself.py:8
#   hint: name a stage that reads it, and one of that stage's loops
