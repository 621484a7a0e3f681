# A layout that is a function takes the tensor's indices.
from flashsched import te

A = te.placeholder((8,), name="A")
P = te.compute((8,), lambda i: A[i] + 1, name="P")
C = te.compute((8,), lambda i: P[i] * 2, name="C")
s = te.create_schedule(C)
s[P].transform_layout(lambda i, j: (j, i))
# -> ArgumentError
# the layout takes 2 indices, and the tensor has rank 1
#   at layout_of_other_rank.py:8
#   hint: give the function one parameter for each dimension, or *indices
