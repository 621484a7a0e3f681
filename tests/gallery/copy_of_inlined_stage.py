# A stage that was inlined has no memory to copy.
from flashsched import te

A = te.placeholder((8,), name="A")
P = te.compute((8,), lambda i: A[i] + 1, name="P")
C = te.compute((8,), lambda i: P[i] * 2, name="C")
s = te.create_schedule(C)
s[P].compute_inline()
s.cache_read(P, "local")
# -> UnknownNameError
# cache_read('local'): stage 'P' was inlined into its readers, and there is nothing left to copy
#   | for i in range(8):
#   |   C(i=i):
#   |     C[i] = (A[i] + 1.0) * 2.0
#   at copy_of_inlined_stage.py:9
#   hint: call cache_read first, then compute_inline: the copy then computes it
