# An offset is below its factor.
from flashsched import te

A = te.placeholder((8, 8), name="A")
P = te.compute((8, 8), lambda i, j: A[i, j] + 1, name="P")
C = te.compute((8, 8), lambda i, j: P[i, j] * 2, name="C")
s = te.create_schedule(C)
s[P].storage_align(0, factor=4, offset=9)
# -> ArgumentError
# storage_align(axis=0, factor=4, offset=9): a stride can't be 9 modulo 4
#   | for i in range(8):
#   |   for j in range(8):
#   |     P(i=i, j=j):
#   |       P[i, j] = A[i, j] + 1.0
#   | for i in range(8):
#   |   for j in range(8):
#   |     C(i=i, j=j):
#   |       C[i, j] = P[i, j] * 2.0
#   at align_to_itself.py:8
#   hint: factor is at least 1, and 0 <= offset < factor
