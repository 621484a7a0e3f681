# Indices can't be divided by zero.
from flashsched import te

N = te.placeholder((8,), "int32", name="N")
te.compute((8,), lambda i: N[te.const(7, "int64") % 0])
# -> DtypeError
# division by zero: 7 % 0
#   at index_by_zero.py:5
#   hint: divide by something that is at least 1
