# A loop has one kind.
from flashsched import te

A = te.placeholder((8, 8), name="A")
C = te.compute((8, 8), lambda i, j: A[i, j] + 1, name="C")
s = te.create_schedule(C)
s[C].parallel("i")
s[C].unroll("i")
# -> StructureError
# unroll('i'): loop 'i' is parallel, and only a serial loop can be unrolled
#   | for i in range(8):  # parallel  <--
#   |   for j in range(8):
#   |     C(i=i, j=j):
#   |       C[i, j] = A[i, j] + 1.0
#   at unroll_parallel.py:8
#   hint: a loop has one kind; undo the other or split the loop
