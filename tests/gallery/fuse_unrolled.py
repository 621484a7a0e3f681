# Loops are fused before they are marked.
from flashsched import te

A = te.placeholder((8, 8), name="A")
C = te.compute((8, 8), lambda i, j: A[i, j] + 1, name="C")
s = te.create_schedule(C)
s[C].unroll("j")
s[C].fuse("i", "j")
# -> StructureError
# fuse('i', 'j'): loop 'j' is unrolled, and only a serial loop can be fused
#   | for i in range(8):
#   |   for j in range(8):  # unroll  <--
#   |     C(i=i, j=j):
#   |       C[i, j] = A[i, j] + 1.0
#   at fuse_unrolled.py:8
#   hint: fuse first, then mark the fused loop
