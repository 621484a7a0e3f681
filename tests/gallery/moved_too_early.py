# A stage moves after those that it reads.
from flashsched import te

A = te.placeholder((8,), name="A")
P = te.compute((8,), lambda i: A[i] + 1, name="P")
Q = te.compute((8,), lambda i: P[i] - 1, name="Q")
C = te.compute((8,), lambda i: Q[i] + P[i], name="C")
s = te.create_schedule(C)
s[Q].compute_at(s[C], "i")
s[P].compute_at(s[C], "i")
s[Q].compute_root()
# -> DependenceError
# compute_root(): 'Q' reads 'P', which is computed at loop 'i' of 'C' and does not exist outside
#   | for i in range(8):  <--
#   |   for i_1 in range(1):
#   |     P(i=i):
#   |       P[i] = A[i] + 1.0
#   |   for i_1 in range(1):
#   |     Q(i=i):
#   |       Q[i] = P[i] - 1.0
#   |   C(i=i):
#   |     C[i] = Q[i] + P[i]
#   at moved_too_early.py:11
#   hint: move 'P' first: compute_at or compute_root
