# Threads share the work on what all of them need.
from flashsched import te

A = te.placeholder((8,), name="A")
P = te.compute((8,), lambda i: A[i] + 1, name="P")
C = te.compute((8,), lambda i: P[i] * 2, name="C")
s = te.create_schedule(C)
outer, inner = s[C].split("i", nparts=4)
s[C].bind(outer, "threadIdx.x")
t, _ = s[P].split("i", nparts=4)
s[P].bind(t, "threadIdx.x")
s[P].compute_at(s[C], outer)
# -> DependenceError
# compute_at('C', 'i.o'): the stage's own bind('i.o', 'threadIdx.x') can't be repeated at the new place: loop 'i.o' is bound to threadIdx.x inside 'i.o', which is too, so the threads share its turns, and 'P' writes memory that they do not share
#   | for i.o in range(4):  # threadIdx.x
#   |   for i.o_1 in range(4):  # threadIdx.x  <--
#   |     for i.i in range(1):
#   |       P(i=i.o * 2 + i.o_1):
#   |         where i.o_1 < 2
#   |         P[i] = A[i] + 1.0
#   |   for i.i in range(2):
#   |     C(i=i.o * 2 + i.i):
#   |       C[i] = P[i] * 2.0
#   at threads_need_other_parts.py:12
#   hint: set_scope('shared') for 'P' first, or bind the loop to another axis
