# A prefetch asks for a tensor that there is.
from flashsched import te

A = te.placeholder((8, 8), name="A")
P = te.compute((8, 8), lambda i, j: A[i, j] + 1, name="P")
C = te.compute((8, 8), lambda i, j: P[i, j] * 2, name="C")
s = te.create_schedule(C)
s[C].prefetch("Q", "i", 2)
# -> UnknownNameError
# prefetch('Q', 'i', offset=2): no tensor named 'Q'
#   | for i in range(8):
#   |   for j in range(8):
#   |     P(i=i, j=j):
#   |       P[i, j] = A[i, j] + 1.0
#   | for i in range(8):
#   |   for j in range(8):
#   |     C(i=i, j=j):
#   |       C[i, j] = P[i, j] * 2.0
#   at prefetch_misspelt.py:8
#   hint: known: A, C, P
