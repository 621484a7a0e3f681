# What others are computed in stays.
from flashsched import te

A = te.placeholder((8,), name="A")
P = te.compute((8,), lambda i: A[i] + 1, name="P")
Q = te.compute((8,), lambda i: P[i] - 1, name="Q")
C = te.compute((8,), lambda i: Q[i] * 2, name="C")
s = te.create_schedule(C)
s[P].compute_at(s[Q], "i")
s[Q].compute_inline()
# -> StructureError
# compute_inline(): stage 'P' is computed at a loop of 'Q', and those loops would be gone
#   | for i in range(8):
#   |   for i_1 in range(1):
#   |     P(i=i):
#   |       P[i] = A[i] + 1.0
#   |   Q(i=i):  <--
#   |     Q[i] = P[i] - 1.0
#   | for i in range(8):
#   |   C(i=i):
#   |     C[i] = Q[i] * 2.0
#   at inline_what_holds_another.py:10
#   hint: move 'P' first: compute_at or compute_root
