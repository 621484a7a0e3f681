# `/` on integers could mean two things.
from flashsched import te

N = te.placeholder((8,), "int32", name="N")
te.compute((8,), lambda i: N[i] / 2)
# -> DtypeError
# '/' on integers is ambiguous: N[i] / 2
#   at int_division.py:5
#   hint: use // (rounds down), or .astype('float32') first
