# Loops are fused from the outside in.
from flashsched import te

A = te.placeholder((8, 8), name="A")
C = te.compute((8, 8), lambda i, j: A[i, j] + 1, name="C")
s = te.create_schedule(C)
s[C].fuse("j", "i")
# -> StructureError
# fuse('j', 'i'): loop 'i' is not directly inside 'j', and only adjacent loops can be fused
#   | for i in range(8):
#   |   for j in range(8):  <--
#   |     C(i=i, j=j):
#   |       C[i, j] = A[i, j] + 1.0
#   at fuse_inside_out.py:7
#   hint: name them from the outside in: fuse('i', 'j')
