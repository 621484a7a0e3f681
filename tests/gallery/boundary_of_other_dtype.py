# What lies beyond has the dtype of what lies inside.
from flashsched import te

from flashsched.te import boundary

boundary.constant(te.placeholder((8,), name="A"), te.const(0, "int32"))
# -> DtypeError
# te.boundary.constant: 0 is int32, and A holds float32
#   at boundary_of_other_dtype.py:6
#   hint: cast it
