# A prefetch asks for what is read.
from flashsched import te

A = te.placeholder((8, 8), name="A")
P = te.compute((8, 8), lambda i, j: A[i, j] + 1, name="P")
C = te.compute((8, 8), lambda i, j: P[i, j] * 2, name="C")
s = te.create_schedule(C)
s[C].prefetch(A, "i", 2)
# -> StructureError
# prefetch('A', 'i', offset=2): loop 'i' prefetches 'A', which is not read in it
#   | for i in range(8):
#   |   for j in range(8):
#   |     P(i=i, j=j):
#   |       P[i, j] = A[i, j] + 1.0
#   | for i in range(8):  # prefetch={'A': 2}  <--
#   |   for j in range(8):
#   |     C(i=i, j=j):
#   |       C[i, j] = P[i, j] * 2.0
#   at prefetch_of_nothing.py:8
#   hint: prefetch what the loop reads and something before it has written; call it last
