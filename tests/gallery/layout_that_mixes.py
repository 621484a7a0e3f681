# A layout takes each index apart for itself.
from flashsched import te

A = te.placeholder((8, 8), name="A")
P = te.compute((8, 8), lambda i, j: A[i, j] + 1, name="P")
C = te.compute((8, 8), lambda i, j: P[i, j] * 2, name="C")
s = te.create_schedule(C)
s[P].transform_layout(lambda i, j: (i + j, j))
# -> LayoutError
# transform_layout('i, j -> i + j, j'): the layout i, j -> i + j, j has i + j, and each of its indices must be a part of one index of the tensor
#   | for i in range(8):
#   |   for j in range(8):
#   |     P(i=i, j=j):
#   |       P[i, j] = A[i, j] + 1.0
#   | for i in range(8):
#   |   for j in range(8):
#   |     C(i=i, j=j):
#   |       C[i, j] = P[i, j] * 2.0
#   at layout_that_mixes.py:8
#   hint: use i, i // 8, i % 8, or i // 8 % 4 for an index i
