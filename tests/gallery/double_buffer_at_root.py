# A double buffer is filled a turn ahead.
from flashsched import te

A = te.placeholder((8, 8), name="A")
P = te.compute((8, 8), lambda i, j: A[i, j] + 1, name="P")
C = te.compute((8, 8), lambda i, j: P[i, j] * 2, name="C")
s = te.create_schedule(C)
s[P].double_buffer()
# -> StructureError
# double_buffer(): 'P' is not computed at a loop, and without turns nothing is ahead
#   | for i in range(8):
#   |   for j in range(8):
#   |     P(i=i, j=j):  <--
#   |       P[i, j] = A[i, j] + 1.0
#   | for i in range(8):
#   |   for j in range(8):
#   |     C(i=i, j=j):
#   |       C[i, j] = P[i, j] * 2.0
#   at double_buffer_at_root.py:8
#   hint: move it first: s[P].compute_at(reader, loop)
