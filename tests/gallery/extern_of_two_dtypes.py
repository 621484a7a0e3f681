# The dtype of an extern stage is told where it can't be known.
from flashsched import te

A, B = te.placeholder((8,), name="A"), te.placeholder((8,), "int32", name="B")
te.extern((8,), [A, B], lambda a, b, out: None, name="C")
# -> DtypeError
# C: which dtype has the output? Its inputs have float32, int32
#   at extern_of_two_dtypes.py:5
#   hint: dtype=…
