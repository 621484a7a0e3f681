# Code has to fit the instruction cache.
from flashsched import te

A = te.placeholder((4096,), name="A")
C = te.compute((4096,), lambda i: A[i] + 1, name="C")
s = te.create_schedule(C)
s[C].unroll("i")
# -> LimitError
# unroll('i'): loop 'i' has 4096 turns, and at most 1024 can be written out
#   | for i in range(4096):  <--
#   |   C(i=i):
#   |     C[i] = A[i] + 1.0
#   at unroll_too_much.py:7
#   hint: split it and take the inner loop: split('i', factor=8)
