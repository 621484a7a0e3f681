# A shifted tail computes some points twice.
from flashsched import te

A = te.placeholder((10, 8), name="A")
k = te.reduce_axis((0, 8), name="k")
C = te.compute((10,), lambda i: te.sum(A[i, k], axis=k), name="C")
s = te.create_schedule(C)
s[C].split("i", factor=4, tail="shift")
# -> DependenceError
# split('i', factor=4, tail='shift'): a shifted tail computes some points twice, and 'C' adds to what it has computed before
#   | for i in range(10):  <--
#   |   for k in range(8):
#   |     C(i=i, k=k):  # reduces k
#   |       init C[i] = 0.0
#   |       C[i] = C[i] + A[i, k]
#   at shift_a_reduction.py:8
#   hint: use tail='cut' or 'guard'; or let cache_write take the sum, and shift the loops that copy it
