# A range goes up.
from flashsched import te

te.reduce_axis((8, 0), name="k")
# -> ShapeError
# reduce_axis((8, 0)): the end comes before the begin
#   at reversed_range.py:4
#   hint: an empty one is (0, 0)
