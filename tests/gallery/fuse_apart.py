# Only neighbours are fused.
from flashsched import te

A, B = te.placeholder((8, 8), name="A"), te.placeholder((8, 8), name="B")
k = te.reduce_axis((0, 8), name="k")
C = te.compute((8, 8), lambda i, j: te.sum(A[i, k] * B[k, j], axis=k), name="C")
s = te.create_schedule(C)
s[C].fuse("i", "k")
# -> StructureError
# fuse('i', 'k'): loop 'k' is not directly inside 'i', and only adjacent loops can be fused
#   | for i in range(8):  <--
#   |   for j in range(8):
#   |     for k in range(8):
#   |       C(i=i, j=j, k=k):  # reduces k
#   |         init C[i, j] = 0.0
#   |         C[i, j] = C[i, j] + A[i, k] * B[k, j]
#   at fuse_apart.py:8
#   hint: reorder them first
