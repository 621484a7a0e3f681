# Each element has a place.
from flashsched import te

A = te.placeholder((8,), name="A")
P = te.compute((8,), lambda i: A[i] + 1, name="P")
C = te.compute((8,), lambda i: P[i] * 2, name="C")
s = te.create_schedule(C)
s[P].transform_layout(lambda i: i // 4)
# -> LayoutError
# transform_layout('i -> i // 4'): the layout i -> i // 4 does not give each element of 'P' a place of its own, or leaves places unused: i = 0 and i = 1 lie in one
#   | for i in range(8):
#   |   P(i=i):
#   |     P[i] = A[i] + 1.0
#   | for i in range(8):
#   |   C(i=i):
#   |     C[i] = P[i] * 2.0
#   at layout_that_loses.py:8
#   hint: i // c and i % c with one c keep all of it
