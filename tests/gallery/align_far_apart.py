# A gap between rows has a limit.
from flashsched import te

A = te.placeholder((8, 8), name="A")
P = te.compute((8, 8), lambda i, j: A[i, j] + 1, name="P")
C = te.compute((8, 8), lambda i, j: P[i, j] * 2, name="C")
s = te.create_schedule(C)
s[P].storage_align(0, factor=1 << 30)
# -> LimitError
# storage_align(axis=0, factor=1073741824, offset=0): factor 1073741824 could leave 1073741823 elements unused, and 4096 is the limit
#   | for i in range(8):
#   |   for j in range(8):
#   |     P(i=i, j=j):
#   |       P[i, j] = A[i, j] + 1.0
#   | for i in range(8):
#   |   for j in range(8):
#   |     C(i=i, j=j):
#   |       C[i, j] = P[i, j] * 2.0
#   at align_far_apart.py:8
#   hint: align rows to a cache line or a bank: 16 or 32
