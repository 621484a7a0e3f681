# Several values have several identities.
from flashsched import te

pair = te.comm_reducer(lambda x, y: (x[0] + y[0], x[1] + y[1]), lambda s, t: (te.const(0, s),), name="pair")
A, k = te.placeholder((8,), name="A"), te.reduce_axis((0, 8), name="k")
te.compute((), lambda: pair((A[k], A[k]), axis=k))
# -> ReducerError
# pair: 2 values are reduced, and combine gives 2, identity 1
#   at identity_of_one.py:6
#   hint: both take and give one value for each that is reduced, as a tuple
