# Fusing needs loops.
from flashsched import te

A = te.placeholder((8, 8), name="A")
C = te.compute((8, 8), lambda i, j: A[i, j] + 1, name="C")
s = te.create_schedule(C)
s[C].fuse()
# -> ArgumentError
# fuse(): no loop is named
#   | for i in range(8):
#   |   for j in range(8):
#   |     C(i=i, j=j):
#   |       C[i, j] = A[i, j] + 1.0
#   at fuse_nothing.py:7
#   hint: name adjacent loops from the outside in: fuse(i, j)
