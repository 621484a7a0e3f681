# Integers can't be divided by zero.
from flashsched import te

N = te.placeholder((8,), "int32", name="N")
te.compute((8,), lambda i: N[i] // 0)
# -> DtypeError
# division by zero: N[i] // 0
#   at divide_by_zero.py:5
#   hint: divide by something that is at least 1
