# A loop has one place.
from flashsched import te

A = te.placeholder((8, 8), name="A")
C = te.compute((8, 8), lambda i, j: A[i, j] + 1, name="C")
s = te.create_schedule(C)
s[C].reorder("i", "j", "i")
# -> ArgumentError
# reorder('i', 'j', 'i'): loop 'i' is named twice
#   | for i in range(8):  <--
#   |   for j in range(8):
#   |     C(i=i, j=j):
#   |       C[i, j] = A[i, j] + 1.0
#   at reorder_twice.py:7
#   hint: name each loop once; those that are not named stay where they are
