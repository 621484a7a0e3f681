# A sum is no expression.
from flashsched import te

A = te.placeholder((8, 8), name="A")
k = te.reduce_axis((0, 8), name="k")
P = te.compute((8,), lambda i: te.sum(A[i, k], axis=k), name="P")
C = te.compute((8,), lambda i: P[i] * 2, name="C")
s = te.create_schedule(C)
s[P].compute_inline()
# -> StructureError
# compute_inline(): 'P' is a reduction, and has no expression to put in its place
#   | for i in range(8):
#   |   for k in range(8):
#   |     P(i=i, k=k):  # reduces k  <--
#   |       init P[i] = 0.0
#   |       P[i] = P[i] + A[i, k]
#   | for i in range(8):
#   |   C(i=i):
#   |     C[i] = P[i] * 2.0
#   at inline_reduction.py:9
#   hint: compute it at a loop of its reader: compute_at
