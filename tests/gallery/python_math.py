# A function of `math` wants a number, and there is none yet.
import math
from flashsched import te

A = te.placeholder((8, 8), name="A")
te.compute((8, 8), lambda i, j: math.exp(A[i, j]))
# -> AxisError
# the value of A[i, j] is not known while the expression is being built
#   at python_math.py:6
#   hint: use te's functions, such as te.exp, in place of those of math
