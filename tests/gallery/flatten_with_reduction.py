# One axis runs through elements, or through what is summed in each.
from flashsched import te

A = te.placeholder((8, 8), name="A")
k = te.reduce_axis((0, 8), name="k")
C = te.compute((8,), lambda i: te.sum(A[i, k], axis=k), name="C")
s = te.create_schedule(C)
s.flatten_axes(C, [["i", "k"]])
# -> DependenceError
# flatten_axes(groups=[['i', 'k']]): the group of i, k has axes of the output of 'C' beside axes that it reduces
#   | for i in range(8):
#   |   for k in range(8):
#   |     C(i=i, k=k):  # reduces k  <--
#   |       init C[i] = 0.0
#   |       C[i] = C[i] + A[i, k]
#   at flatten_with_reduction.py:8
#   hint: one axis runs through elements, or through what is combined in each: make two groups
