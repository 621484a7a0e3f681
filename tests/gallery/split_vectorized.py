# A loop is split before it is marked.
from flashsched import te

A = te.placeholder((8, 8), name="A")
C = te.compute((8, 8), lambda i, j: A[i, j] + 1, name="C")
s = te.create_schedule(C)
s[C].vectorize("j")
s[C].split("j", factor=4)
# -> StructureError
# split('j', factor=4): loop 'j' is vectorized, and only a serial loop can be split
#   | for i in range(8):
#   |   for j in range(8):  # vectorize  <--
#   |     C(i=i, j=j):
#   |       C[i, j] = A[i, j] + 1.0
#   at split_vectorized.py:8
#   hint: split first, then mark 'j.i'
