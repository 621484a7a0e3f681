# A split needs a size.
from flashsched import te

A = te.placeholder((8, 8), name="A")
C = te.compute((8, 8), lambda i, j: A[i, j] + 1, name="C")
s = te.create_schedule(C)
s[C].split("i")
# -> ArgumentError
# split('i'): give either factor or nparts, got factor=None, nparts=None
#   | for i in range(8):  <--
#   |   for j in range(8):
#   |     C(i=i, j=j):
#   |       C[i, j] = A[i, j] + 1.0
#   at split_nowhere.py:7
#   hint: factor=4 makes inner loops of 4 turns, nparts=4 an outer loop of 4
