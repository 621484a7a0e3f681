# A stride is that of a dimension.
from flashsched import te

A = te.placeholder((8, 8), name="A")
P = te.compute((8, 8), lambda i, j: A[i, j] + 1, name="P")
C = te.compute((8, 8), lambda i, j: P[i, j] * 2, name="C")
s = te.create_schedule(C)
s[P].storage_align(2, factor=16)
# -> ArgumentError
# storage_align(axis=2, factor=16, offset=0): no dimension 2: the memory of 'P' has 2
#   | for i in range(8):
#   |   for j in range(8):
#   |     P(i=i, j=j):
#   |       P[i, j] = A[i, j] + 1.0
#   | for i in range(8):
#   |   for j in range(8):
#   |     C(i=i, j=j):
#   |       C[i, j] = P[i, j] * 2.0
#   at align_nowhere.py:8
#   hint: give one of s[P].op.axis, or a number from 0
