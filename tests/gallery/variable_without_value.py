# A variable of nowhere has no value.
from flashsched import te

A = te.placeholder((8, 8), name="A")
n = te.Var("n")
te.compute((8,), lambda i: A[i, n])
# -> AxisError
# compute: variable 'n' has no value; only axes may be used
#   | compute = A[i, n]
#   at variable_without_value.py:6
#   hint: use the parameters of the function, te.reduce_axis, or a te.placeholder(()) for a value
