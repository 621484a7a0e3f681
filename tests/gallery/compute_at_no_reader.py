# A stage is computed where it is read.
from flashsched import te

A = te.placeholder((8,), name="A")
P = te.compute((8,), lambda i: A[i] + 1, name="P")
C = te.compute((8,), lambda i: P[i] * 2, name="C")
D = te.compute((8,), lambda i: P[i] - 1, name="D")
s = te.create_schedule([C, D])
s[P].compute_at(s[C], "i")
# -> DependenceError
# compute_at('C', 'i'): 'D' reads 'P' outside loop 'i' of 'C'
#   | for i in range(8):
#   |   P(i=i):
#   |     P[i] = A[i] + 1.0
#   | for i in range(8):  <--
#   |   C(i=i):
#   |     C[i] = P[i] * 2.0
#   | for i in range(8):
#   |   D(i=i):
#   |     D[i] = P[i] - 1.0
#   at compute_at_no_reader.py:9
#   hint: move 'D' inside that loop first, or choose a loop around all readers
