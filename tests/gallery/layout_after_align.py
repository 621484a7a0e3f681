# A layout comes before the strides in it.
from flashsched import te

A = te.placeholder((8, 8), name="A")
P = te.compute((8, 8), lambda i, j: A[i, j] + 1, name="P")
C = te.compute((8, 8), lambda i, j: P[i, j] * 2, name="C")
s = te.create_schedule(C)
s[P].storage_align(0, factor=16)
s[P].transform_layout(lambda i, j: (j, i))
# -> StructureError
# transform_layout('i, j -> j, i'): the memory of 'P' has aligned strides, and a new layout would have other dimensions
#   | for i in range(8):
#   |   for j in range(8):
#   |     P(i=i, j=j):  <--
#   |       P[i, j] = A[i, j] + 1.0
#   | for i in range(8):
#   |   for j in range(8):
#   |     C(i=i, j=j):
#   |       C[i, j] = P[i, j] * 2.0
#   at layout_after_align.py:9
#   hint: call transform_layout first, then storage_align for a dimension of the new layout
