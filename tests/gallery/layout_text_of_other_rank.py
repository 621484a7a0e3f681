# A layout that is a text takes the tensor's indices.
from flashsched import te

A = te.placeholder((8,), name="A")
P = te.compute((8,), lambda i: A[i] + 1, name="P")
C = te.compute((8,), lambda i: P[i] * 2, name="C")
s = te.create_schedule(C)
s[P].transform_layout("i, j -> j, i")
# -> ArgumentError
# transform_layout('i, j -> j, i'): the layout takes 2 indices, and 'P' has rank 1
#   | for i in range(8):
#   |   P(i=i):
#   |     P[i] = A[i] + 1.0
#   | for i in range(8):
#   |   C(i=i):
#   |     C[i] = P[i] * 2.0
#   at layout_text_of_other_rank.py:8
#   hint: name one index for each dimension before the arrow
