# Threads are shared out once.
from flashsched import te

A = te.placeholder((8, 8), name="A")
C = te.compute((8, 8), lambda i, j: A[i, j] + 1, name="C")
s = te.create_schedule(C)
s[C].parallel("i")
s[C].parallel("j")
# -> StructureError
# parallel('j'): loop 'i' around or inside 'j' is parallel already, and there is one level
#   | for i in range(8):  # parallel  <--
#   |   for j in range(8):
#   |     C(i=i, j=j):
#   |       C[i, j] = A[i, j] + 1.0
#   at parallel_twice.py:8
#   hint: fuse the two loops, and make the fused one parallel
