# Each of the threads that are launched around a nest would store all of it.
from flashsched import te

A = te.placeholder((8,), name="A")
C = te.compute((8,), lambda i: A[i] + 1, name="C")
s = te.create_schedule(C)
s[C].env_threads(["threadIdx.x"], [8])
# -> DependenceError
# env_threads(axes=['threadIdx.x'], extents=[8]): each turn of loop 'threadIdx.x' (threadIdx.x) stores all of 'C', in memory that they share
#   | for threadIdx.x in range(8):  # threadIdx.x  <--
#   |   for i in range(8):
#   |     C(i=i):
#   |       C[i] = A[i] + 1.0
#   at threads_store_all.py:7
#   hint: bind a loop of 'C' to threadIdx.x first, so that the threads share its turns
