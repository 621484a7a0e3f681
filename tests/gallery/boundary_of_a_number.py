# A boundary is that of a tensor.
from flashsched import te

from flashsched.te import boundary

boundary.clamp(3)
# -> ShapeError
# te.boundary.clamp takes a tensor, not int 3
#   at boundary_of_a_number.py:6
#   hint: give the tensor itself
