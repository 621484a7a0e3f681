# A reducer reads nothing but its values.
from flashsched import te

A, k = te.placeholder((8,), name="A"), te.reduce_axis((0, 8), name="k")
odd = te.comm_reducer(lambda x, y: x + y + A[0], lambda t: te.const(0, t), name="odd")
te.compute((), lambda: odd(A[k], axis=k))
# -> ReducerError
# A[0] is read where only plain values may be used
#   at reducer_that_reads.py:6
#   hint: a reducer combines its two arguments, and reads no tensor
