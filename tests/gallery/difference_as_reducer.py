# A reducer takes its values in any order.
from flashsched import te

minus = te.comm_reducer(lambda x, y: x - y, lambda t: te.const(0, t), name="minus")
A, k = te.placeholder((8,), name="A"), te.reduce_axis((0, 8), name="k")
te.compute((), lambda: minus(A[k], axis=k))
# -> ReducerError
# reducer 'minus' is not commutative
#   | minus(x, y) = x - y
#   at difference_as_reducer.py:6
#   hint: a schedule may combine values in any order, so the answer would depend on it
