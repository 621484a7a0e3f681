# Two bools are not added.
from flashsched import te

N = te.placeholder((8,), "int32", name="N")
te.compute((8,), lambda i: (N[i] > 0) + (N[i] < 5))
# -> DtypeError
# '+' on two bools: N[i] > 0 + N[i] < 5
#   at sum_of_bools.py:5
#   hint: use & | ^ on bools, or .astype('int32') to count them
