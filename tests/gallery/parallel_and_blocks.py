# A CPU's threads do not run GPU blocks.
from flashsched import te

A = te.placeholder((8,), name="A")
P = te.compute((8,), lambda i: A[i] + 1, name="P")
C = te.compute((8,), lambda i: P[i] * 2, name="C")
s = te.create_schedule(C)
s[P].bind("i", "blockIdx.x")
s[C].parallel("i")
s[P].compute_at(s[C], "i")
# -> StructureError
# compute_at('C', 'i'): the stage's own bind('i', 'blockIdx.x') can't be repeated at the new place: loop 'i' is bound to blockIdx.x, and 'i', around or inside it, is parallel on a CPU
#   | for i in range(8):  # parallel
#   |   for i_1 in range(1):  # blockIdx.x  <--
#   |     P(i=i):
#   |       P[i] = A[i] + 1.0
#   |   C(i=i):
#   |     C[i] = P[i] * 2.0
#   at parallel_and_blocks.py:10
#   hint: bind all of a program's loops, or none
