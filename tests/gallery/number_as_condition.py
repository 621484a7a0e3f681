# A condition is a comparison.
from flashsched import te

N = te.placeholder((8,), "int32", name="N")
te.compute((8,), lambda i: te.select(N[i], 1, 2))
# -> DtypeError
# select: N[i] is int32, not a condition
#   at number_as_condition.py:5
#   hint: compare it: N[i] != 0
