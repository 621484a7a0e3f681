# An identity is known beforehand.
from flashsched import te

A, k = te.placeholder((8,), name="A"), te.reduce_axis((0, 8), name="k")
odd = te.comm_reducer(lambda x, y: x + y, lambda t: A[0], name="odd")
te.compute((), lambda: odd(A[k], axis=k))
# -> ReducerError
# odd: the identity must be a constant, not A[0]
#   at identity_that_varies.py:6
#   hint: for a sum: lambda t: te.const(0, t)
