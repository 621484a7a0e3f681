# Most functions are defined for floats only.
from flashsched import te

N = te.placeholder((8,), "int32", name="N")
te.compute((8,), lambda i: te.exp(N[i]))
# -> DtypeError
# exp(N[i]) is asked of int32, and is defined for floats
#   at math_of_integers.py:5
#   hint: cast it: te.exp(x.astype('float32'))
