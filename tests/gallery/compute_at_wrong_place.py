# A stage is computed at a loop of someone who reads it.
from flashsched import te

A = te.placeholder((8,), name="A")
P = te.compute((8,), lambda i: A[i] + 1, name="P")
Q = te.compute((8,), lambda i: A[i] - 1, name="Q")
C = te.compute((8,), lambda i: P[i] * Q[i], name="C")
s = te.create_schedule(C)
s[P].compute_at(s[Q], "i")
# -> StructureError
# compute_at('Q', 'i'): nothing inside loop 'i' of 'Q' reads 'P'
#   | for i in range(8):
#   |   P(i=i):
#   |     P[i] = A[i] + 1.0
#   | for i in range(8):  <--
#   |   Q(i=i):
#   |     Q[i] = A[i] - 1.0
#   | for i in range(8):
#   |   C(i=i):
#   |     C[i] = P[i] * Q[i]
#   at compute_at_wrong_place.py:9
#   hint: its readers: C
