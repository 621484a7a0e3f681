# An axis of threads has one size.
from flashsched import te

A, B = te.placeholder((8, 8), name="A"), te.placeholder((8, 8), name="B")
k = te.reduce_axis((0, 8), name="k")
C = te.compute((8, 8), lambda i, j: te.sum(A[i, k] * B[k, j], axis=k), name="C")
s = te.create_schedule(C)
outer, inner = s[C].split("i", factor=2)
s[C].bind(outer, "threadIdx.x")
s[C].bind("j", "threadIdx.x")
# -> StructureError
# bind('j', 'threadIdx.x'): loop 'i.o' is bound to threadIdx.x with 4 turns, and 'j' has 8
#   | for i.o in range(4):  # threadIdx.x  <--
#   |   for i.i in range(2):
#   |     for j in range(8):
#   |       for k in range(8):
#   |         C(i=i.o * 2 + i.i, j=j, k=k):  # reduces k
#   |           init C[i, j] = 0.0
#   |           C[i, j] = C[i, j] + A[i, k] * B[k, j]
#   at threads_of_two_sizes.py:10
#   hint: split 'j' so that one part has 4 turns, and bind that part
