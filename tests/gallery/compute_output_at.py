# The caller sees all of an output.
from flashsched import te

A = te.placeholder((8,), name="A")
P = te.compute((8,), lambda i: A[i] + 1, name="P")
C = te.compute((8,), lambda i: P[i] * 2, name="C")
s = te.create_schedule([P, C])
s[P].compute_at(s[C], "i")
# -> OutputError
# compute_at('C', 'i'): 'P' is an output, and the caller sees all of it
#   | for i in range(8):
#   |   P(i=i):  <--
#   |     P[i] = A[i] + 1.0
#   | for i in range(8):
#   |   C(i=i):
#   |     C[i] = P[i] * 2.0
#   at compute_output_at.py:8
#   hint: compute what it reads at its loops, or make a copy of it: cache_write('P', 'local')
