# A reducer takes its values in any grouping.
from flashsched import te

mean = te.comm_reducer(lambda x, y: (x + y) / 2, lambda t: te.const(0, t), name="mean")
A, k = te.placeholder((8,), name="A"), te.reduce_axis((0, 8), name="k")
te.compute((), lambda: mean(A[k], axis=k))
# -> ReducerError
# reducer 'mean' is not associative
#   | mean(x, y) = (x + y) / 2.0
#   at mean_as_reducer.py:6
#   hint: a schedule may combine values in any order, so the answer would depend on it
