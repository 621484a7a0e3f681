# A constant is one number.
from flashsched import te

te.const([1, 2])
# -> DtypeError
# a constant is a bool, an int or a float, not list
#   at strange_constant.py:4
#   hint: te.const(1.5)
