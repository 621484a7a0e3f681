# Nothing is computed inside a vector instruction.
from flashsched import te

A = te.placeholder((8,), name="A")
P = te.compute((8,), lambda i: A[i] + 1, name="P")
C = te.compute((8,), lambda i: P[i] * 2, name="C")
s = te.create_schedule(C)
s[C].vectorize("i")
s[P].compute_at(s[C], "i")
# -> StructureError
# compute_at('C', 'i'): loop 'i' is vectorized, and nothing can be computed inside a vector instruction
#   | for i in range(8):
#   |   P(i=i):
#   |     P[i] = A[i] + 1.0
#   | for i in range(8):  # vectorize  <--
#   |   C(i=i):
#   |     C[i] = P[i] * 2.0
#   at compute_inside_vector.py:9
#   hint: choose a loop further out
