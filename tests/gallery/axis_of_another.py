# An axis belongs to one compute.
from flashsched import te

A = te.placeholder((8, 8), name="A")
C = te.compute((8,), lambda i: A[i, 0])
te.compute((8,), lambda j: A[j, C.op.axis[0]])
# -> AxisError
# compute: axis 'i' is used outside the compute it belongs to
#   | compute = A[j, i]
#   at axis_of_another.py:6
#   hint: use the parameters of this function
