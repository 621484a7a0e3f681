# What is repeated at a boundary has to be there.
from flashsched import te

from flashsched.te import boundary

boundary.clamp(te.placeholder((0,), name="A"))
# -> ShapeError
# A of shape [0] has no element that te.boundary.clamp could give
#   at boundary_of_nothing.py:6
#   hint: te.boundary.constant gives a value of its own
