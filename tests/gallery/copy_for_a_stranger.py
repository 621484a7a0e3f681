# A copy is for those who read it.
from flashsched import te

A = te.placeholder((8,), name="A")
P = te.compute((8,), lambda i: A[i] + 1, name="P")
C = te.compute((8,), lambda i: P[i] * 2, name="C")
s = te.create_schedule(C)
s.cache_read(A, "local", [C])
# -> ArgumentError
# cache_read('local', readers=['C']): 'C' does not read 'A'
#   | for i in range(8):
#   |   P(i=i):
#   |     P[i] = A[i] + 1.0
#   | for i in range(8):
#   |   C(i=i):
#   |     C[i] = P[i] * 2.0
#   at copy_for_a_stranger.py:8
#   hint: its readers: P
