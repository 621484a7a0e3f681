# A fraction is not rounded silently.
from flashsched import te

N = te.placeholder((8,), "int32", name="N")
te.compute((8,), lambda i: te.const(0.5, "int32") * N[i])
# -> DtypeError
# 0.5 is not an integer, and int32 holds nothing else
#   at fraction_as_integer.py:5
#   hint: cast it yourself
