# The identity of a reducer changes nothing.
from flashsched import te

product = te.comm_reducer(lambda x, y: x * y, lambda t: te.const(0, t), name="product")
A, k = te.placeholder((8,), name="A"), te.reduce_axis((0, 8), name="k")
te.compute((), lambda: product(A[k], axis=k))
# -> ReducerError
# reducer 'product' has 0.0 as identity, and combining with it changes values
#   | product(x, y) = x * y
#   at wrong_identity.py:6
#   hint: give the value that changes nothing: 0 for a sum, 1 for a product, te.min_value(t) for a maximum
