# One thread stores, and each has something else to store.
from flashsched import te

A = te.placeholder((8,), name="A")
C = te.compute((8,), lambda i: A[i] + 1, name="C")
s = te.create_schedule(C)
s[C].bind("i", "threadIdx.x")
s[C].set_store_predicate("threadIdx.x == 0")
# -> DependenceError
# set_store_predicate('threadIdx.x == 0'): each turn of loop 'i' (threadIdx.x) has another part of 'C' to store, and with one thread storing only one would be there
#   | for i in range(8):  # threadIdx.x  <--
#   |   C(i=i):
#   |     C[i] = A[i] + 1.0
#   at predicate_of_parts.py:8
#   hint: leave it out: no two threads store one element of 'C'
