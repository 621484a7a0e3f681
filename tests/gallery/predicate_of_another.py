# A thread other than the first is to store.
from flashsched import te

A, k = te.placeholder((4, 8), name="A"), te.reduce_axis((0, 8), name="k")
C = te.compute((4,), lambda i: te.sum(A[i, k], axis=k), name="C")
s = te.create_schedule(C)
s[C].bind("k", "threadIdx.x")
s[C].set_store_predicate("threadIdx.x == 7")
# -> ArgumentError
# set_store_predicate('threadIdx.x == 7'): threadIdx.x == 7 asks for another thread than the first, which does the turn of a loop that has one
#   | for i in range(4):
#   |   for k in range(8):  # threadIdx.x
#   |     C(i=i, k=k):  # reduces k
#   |       init C[i] = 0.0
#   |       C[i] = C[i] + A[i, k]
#   at predicate_of_another.py:8
#   hint: all threads have the same to store: 'threadIdx.x == 0'
