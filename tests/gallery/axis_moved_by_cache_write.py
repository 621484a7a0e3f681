# `cache_write` takes the reduction along.
from flashsched import te

A = te.placeholder((8, 8), name="A")
k = te.reduce_axis((0, 8), name="k")
C = te.compute((8,), lambda i: te.sum(A[i, k], axis=k), name="C")
s = te.create_schedule(C)
s.cache_write(C, "local")
s[C].split(k, factor=4)
# -> UnknownNameError
# split('k', factor=4): loop 'k' of stage 'C' is no more: cache_write('local') took it
#   | for i in range(8):
#   |   for k in range(8):
#   |     C.local(i=i, k=k):  # reduces k
#   |       init C.local[i] = 0.0
#   |       C.local[i] = C.local[i] + A[i, k]
#   | for i in range(8):
#   |   C(i=i):
#   |     C[i] = C.local[i]
#   at axis_moved_by_cache_write.py:9
#   hint: its loops now: i
