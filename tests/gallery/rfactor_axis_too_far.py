# The parts are a dimension of the new tensor.
from flashsched import te

A = te.placeholder((8, 8), name="A")
k = te.reduce_axis((0, 8), name="k")
C = te.compute((8,), lambda i: te.sum(A[i, k], axis=k), name="C")
s = te.create_schedule(C)
s.rfactor(C, "k", factor_axis=3)
# -> ArgumentError
# rfactor('k', factor_axis=3): factor_axis 3 is no place among the 2 dimensions of the new tensor
#   | for i in range(8):
#   |   for k in range(8):
#   |     C(i=i, k=k):  # reduces k
#   |       init C[i] = 0.0
#   |       C[i] = C[i] + A[i, k]
#   at rfactor_axis_too_far.py:8
#   hint: use -2 to 1
