# Only a reduction is made in parts.
from flashsched import te

A = te.placeholder((8, 8), name="A")
k = te.reduce_axis((0, 8), name="k")
C = te.compute((8,), lambda i: te.sum(A[i, k], axis=k), name="C")
s = te.create_schedule(C)
s.rfactor(C, "i")
# -> StructureError
# rfactor('i'): loop 'i' does not run over a reduction, and rfactor makes parts of a reduction
#   | for i in range(8):  <--
#   |   for k in range(8):
#   |     C(i=i, k=k):  # reduces k
#   |       init C[i] = 0.0
#   |       C[i] = C[i] + A[i, k]
#   at rfactor_of_the_output.py:8
#   hint: name a loop over one of the reduce axes: s[C].op.reduce_axis, or what split made of it
