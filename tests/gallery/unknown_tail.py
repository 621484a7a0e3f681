# A tail is treated in one of a few ways.
from flashsched import te

A = te.placeholder((8, 8), name="A")
C = te.compute((8, 8), lambda i, j: A[i, j] + 1, name="C")
s = te.create_schedule(C)
s[C].split("i", factor=3, tail="round")
# -> ArgumentError
# split('i', factor=3, tail='round'): no tail strategy 'round'
#   | for i in range(8):  <--
#   |   for j in range(8):
#   |     C(i=i, j=j):
#   |       C[i, j] = A[i, j] + 1.0
#   at unknown_tail.py:7
#   hint: known: cut, guard, mask, pad, shift
