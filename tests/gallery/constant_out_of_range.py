# A constant has to fit the dtype of the other side.
from flashsched import te

N = te.placeholder((8,), "int8", name="N")
te.compute((8,), lambda i: N[i] + te.const(300, "int8"))
# -> DtypeError
# 300 does not fit int8
#   at constant_out_of_range.py:5
#   hint: give it a wider type: te.const(300, 'int64')
