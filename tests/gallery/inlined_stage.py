# A stage that was inlined has no loops.
from flashsched import te

A = te.placeholder((8,), name="A")
P = te.compute((8,), lambda i: A[i] + 1, name="P")
C = te.compute((8,), lambda i: P[i] * 2, name="C")
s = te.create_schedule(C)
s[P].compute_inline()
s[P].unroll("i")
# -> UnknownNameError
# unroll('i'): stage 'P' was inlined into its readers, so it has no loops any more
#   | for i in range(8):
#   |   C(i=i):
#   |     C[i] = (A[i] + 1.0) * 2.0
#   at inlined_stage.py:9
#   hint: schedule its readers, or leave out P.compute_inline()
