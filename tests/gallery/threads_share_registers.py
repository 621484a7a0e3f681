# Threads share the work on what they share.
from flashsched import te

A = te.placeholder((8,), name="A")
P = te.compute((8,), lambda i: A[i] + 1, name="P")
C = te.compute((8,), lambda i: P[i] * 2, name="C")
s = te.create_schedule(C)
s[P].bind("i", "threadIdx.x")
s[C].bind("i", "threadIdx.x")
s[P].compute_at(s[C], "i")
# -> StructureError
# compute_at('C', 'i'): the stage's own bind('i', 'threadIdx.x') can't be repeated at the new place: loop 'i' is bound to threadIdx.x with 8 turns, and 'i' has 1
#   | for i in range(8):  # threadIdx.x  <--
#   |   for i_1 in range(1):
#   |     P(i=i):
#   |       P[i] = A[i] + 1.0
#   |   C(i=i):
#   |     C[i] = P[i] * 2.0
#   at threads_share_registers.py:10
#   hint: split 'i' so that one part has 8 turns, and bind that part
