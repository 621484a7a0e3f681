# Tiles with a shifted tail write the same elements.
from flashsched import te

A = te.placeholder((10,), name="A")
C = te.compute((10,), lambda i: A[i] + 1, name="C")
s = te.create_schedule(C)
outer, inner = s[C].split("i", factor=4, tail="shift")
s[C].parallel(outer)
# -> DependenceError
# parallel('i.o'): loop 'i.o' has a shifted tail: its last tile writes elements that the one before writes too, and running them at once (parallel) is a race
#   | for i.o in range(3):  <--
#   |   for i.i in range(4):
#   |     C(i=min(i.o * 4, 6) + i.i):
#   |       C[i] = A[i] + 1.0
#   at shift_then_parallel.py:8
#   hint: split with tail='cut' or 'guard' instead, or choose another loop
