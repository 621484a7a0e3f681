# A factor counts turns.
from flashsched import te

A = te.placeholder((8, 8), name="A")
C = te.compute((8, 8), lambda i, j: A[i, j] + 1, name="C")
s = te.create_schedule(C)
s[C].split("i", factor=0)
# -> ArgumentError
# split('i', factor=0): factor must be at least 1, got 0
#   | for i in range(8):
#   |   for j in range(8):
#   |     C(i=i, j=j):
#   |       C[i, j] = A[i, j] + 1.0
#   at factor_of_zero.py:7
#   hint: it counts turns: factor=4
