# A Python `if` runs once, when the expression is built.
from flashsched import te

A = te.placeholder((8, 8), name="A")
te.compute((8, 8), lambda i, j: A[i, j] if i > j else 0.0)
# -> AxisError
# the truth of i > j is not known while the expression is being built
#   at python_if.py:5
#   hint: use te.select(condition, a, b), te.all(...) or te.any(...) in place of if, and, or, not
