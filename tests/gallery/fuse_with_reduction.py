# A loop is over the output or over a reduction.
from flashsched import te

A = te.placeholder((8, 8), name="A")
k = te.reduce_axis((0, 8), name="k")
C = te.compute((8,), lambda i: te.sum(A[i, k], axis=k), name="C")
s = te.create_schedule(C)
s[C].fuse("i", "k")
# -> StructureError
# fuse('i', 'k'): one of 'i' and 'k' runs over the output and the other over a reduction
#   | for i in range(8):
#   |   for k in range(8):  <--
#   |     C(i=i, k=k):  # reduces k
#   |       init C[i] = 0.0
#   |       C[i] = C[i] + A[i, k]
#   at fuse_with_reduction.py:8
#   hint: fuse loops of one sort only
