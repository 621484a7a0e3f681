# Blocks stand outside threads.
from flashsched import te

A = te.placeholder((8, 8), name="A")
C = te.compute((8, 8), lambda i, j: A[i, j] + 1, name="C")
s = te.create_schedule(C)
s[C].bind("i", "threadIdx.x")
s[C].bind("j", "blockIdx.x")
# -> StructureError
# bind('j', 'blockIdx.x'): loop 'j' is bound to blockIdx.x, and stands inside 'i', which is bound to threadIdx.x
#   | for i in range(8):  # threadIdx.x  <--
#   |   for j in range(8):  # blockIdx.x
#   |     C(i=i, j=j):
#   |       C[i, j] = A[i, j] + 1.0
#   at block_inside_thread.py:8
#   hint: a grid of blocks stands outside its threads, each of its axes bound once
