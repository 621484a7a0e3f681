# A shifted tail fits into the loop.
from flashsched import te

A = te.placeholder((6,), name="A")
C = te.compute((6,), lambda i: A[i] + 1, name="C")
s = te.create_schedule(C)
s[C].split("i", factor=8, tail="shift")
# -> ArgumentError
# split('i', factor=8, tail='shift'): loop 'i' has 6 turns, and a tile of 8 can't be shifted into them
#   | for i in range(6):  <--
#   |   C(i=i):
#   |     C[i] = A[i] + 1.0
#   at shift_a_short_loop.py:7
#   hint: split by at most 6, or use tail='guard'
