# Each part of a condition is a condition.
from flashsched import te

N = te.placeholder((8,), "int32", name="N")
te.compute((8,), lambda i: te.select(te.all(N[i], i > 2), 1, 2))
# -> DtypeError
# N[i] is int32, not a condition
#   at number_in_all.py:5
#   hint: compare it: N[i] != 0
