# What is computed at a loop does not exist outside.
from flashsched import te

A = te.placeholder((8,), name="A")
P = te.compute((8,), lambda i: A[i] + 1, name="P")
C = te.compute((8,), lambda i: P[i] * 2, name="C")
s = te.create_schedule(C)
s[P].compute_at(s[C], "i")
s.cache_read(P, "local")
# -> DependenceError
# cache_read('local'): 'P' is computed at loop 'i' of 'C', and does not exist outside
#   | for i in range(8):
#   |   for i_1 in range(1):
#   |     P(i=i):  <--
#   |       P[i] = A[i] + 1.0
#   |   C(i=i):
#   |     C[i] = P[i] * 2.0
#   at copy_of_what_is_inside.py:9
#   hint: call cache_read before P.compute_at
