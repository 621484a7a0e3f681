# A range has two ends.
from flashsched import te

te.reduce_axis(8, name="k")
# -> ShapeError
# reduce_axis(8): the range is a pair (begin, end) of integers
#   at range_without_end.py:4
#   hint: te.reduce_axis((0, n))
