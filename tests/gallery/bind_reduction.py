# Blocks of a GPU would add to one element at once.
from flashsched import te

A = te.placeholder((8, 8), name="A")
k = te.reduce_axis((0, 8), name="k")
C = te.compute((8,), lambda i: te.sum(A[i, k], axis=k), name="C")
s = te.create_schedule(C)
s[C].bind("k", "blockIdx.x")
# -> DependenceError
# bind('k', 'blockIdx.x'): loop 'k' runs over a reduction: its turns add to the same elements, and running them at once (blockIdx.x) would lose some
#   | for i in range(8):
#   |   for k in range(8):  <--
#   |     C(i=i, k=k):  # reduces k
#   |       init C[i] = 0.0
#   |       C[i] = C[i] + A[i, k]
#   at bind_reduction.py:8
#   hint: choose a loop over the output, or make parts of the reduction (rfactor) and take the loop over them
