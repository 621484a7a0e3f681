# A vector has a limit.
from flashsched import te

A = te.placeholder((4096,), name="A")
C = te.compute((4096,), lambda i: A[i] + 1, name="C")
s = te.create_schedule(C)
s[C].vectorize("i")
# -> LimitError
# vectorize('i'): loop 'i' has 4096 turns, and a vector loop at most 1024
#   | for i in range(4096):  <--
#   |   C(i=i):
#   |     C[i] = A[i] + 1.0
#   at vector_too_long.py:7
#   hint: split it first: split('i', factor=16)
