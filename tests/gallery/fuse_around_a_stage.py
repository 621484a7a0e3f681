# Nothing stands between loops that are fused.
from flashsched import te

A = te.placeholder((8, 8), name="A")
P = te.compute((8, 8), lambda i, j: A[i, j] + 1, name="P")
C = te.compute((8, 8), lambda i, j: P[i, j] * 2, name="C")
s = te.create_schedule(C)
s[P].compute_at(s[C], "i")
s[C].fuse("i", "j")
# -> StructureError
# fuse('i', 'j'): stage 'P' is computed at loop 'i', between 'i' and 'j'
#   | for i in range(8):  <--
#   |   for i_1 in range(1):
#   |     for j in range(8):
#   |       P(i=i, j=j):
#   |         P[i, j] = A[i, j] + 1.0
#   |   for j in range(8):
#   |     C(i=i, j=j):
#   |       C[i, j] = P[i, j] * 2.0
#   at fuse_around_a_stage.py:9
#   hint: compute 'P' at 'j' or further out first
