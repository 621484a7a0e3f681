# A dtype is one of a few names.
from flashsched import te

te.placeholder((8,), dtype="float23")
# -> DtypeError
# no dtype 'float23'
#   at no_such_dtype.py:4
#   hint: did you mean float32 or float64 or float16?
