# There are six axes of blocks and threads.
from flashsched import te

A = te.placeholder((8, 8), name="A")
C = te.compute((8, 8), lambda i, j: A[i, j] + 1, name="C")
s = te.create_schedule(C)
s[C].bind("i", "threadidx.x")
# -> UnknownNameError
# bind('i', 'threadidx.x'): no thread axis 'threadidx.x'
#   | for i in range(8):  <--
#   |   for j in range(8):
#   |     C(i=i, j=j):
#   |       C[i, j] = A[i, j] + 1.0
#   at misspelt_thread_axis.py:7
#   hint: did you mean threadIdx.x?
