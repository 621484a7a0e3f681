# One of them decides the other.
from flashsched import te

A = te.placeholder((8, 8), name="A")
C = te.compute((8, 8), lambda i, j: A[i, j] + 1, name="C")
s = te.create_schedule(C)
s[C].split("i", factor=2, nparts=4)
# -> ArgumentError
# split('i', factor=2, nparts=4): give either factor or nparts, got factor=2, nparts=4
#   | for i in range(8):  <--
#   |   for j in range(8):
#   |     C(i=i, j=j):
#   |       C[i, j] = A[i, j] + 1.0
#   at factor_and_nparts.py:7
#   hint: factor=4 makes inner loops of 4 turns, nparts=4 an outer loop of 4
