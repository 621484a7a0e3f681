# A loop that was split is no more.
from flashsched import te

A = te.placeholder((8, 8), name="A")
C = te.compute((8, 8), lambda i, j: A[i, j] + 1, name="C")
s = te.create_schedule(C)
s[C].split("i", factor=4)
s[C].unroll("i")
# -> UnknownNameError
# unroll('i'): loop 'i' of stage 'C' is no more: split('i', factor=4) took it
#   | for i.o in range(2):
#   |   for i.i in range(4):
#   |     for j in range(8):
#   |       C(i=i.o * 4 + i.i, j=j):
#   |         C[i, j] = A[i, j] + 1.0
#   at loop_that_is_gone.py:8
#   hint: its loops now: i.o, i.i, j
