# A stage takes its own steps along.
from flashsched import te

A = te.placeholder((8,), name="A")
P = te.compute((8,), lambda i: A[i] + 1, name="P")
C = te.compute((8,), lambda i: P[i] * 2, name="C")
s = te.create_schedule(C)
s[P].parallel("i")
s[C].parallel("i")
s[P].compute_at(s[C], "i")
# -> StructureError
# compute_at('C', 'i'): the stage's own parallel('i') can't be repeated at the new place: loop 'i' around or inside 'i' is parallel already, and there is one level
#   | for i in range(8):  # parallel  <--
#   |   for i_1 in range(1):
#   |     P(i=i):
#   |       P[i] = A[i] + 1.0
#   |   C(i=i):
#   |     C[i] = P[i] * 2.0
#   at repeated_step_does_not_fit.py:10
#   hint: fuse the two loops, and make the fused one parallel
