# A layout has dimensions.
from flashsched import te

A = te.placeholder((8,), name="A")
P = te.compute((8,), lambda i: A[i] + 1, name="P")
C = te.compute((8,), lambda i: P[i] * 2, name="C")
s = te.create_schedule(C)
s[P].transform_layout(lambda i: ())
# -> LayoutError
# the layout gives no index
#   at layout_of_nothing.py:8
#   hint: return one expression for each dimension of the memory
