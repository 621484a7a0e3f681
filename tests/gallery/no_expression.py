# The function returns what is computed.
from flashsched import te

te.compute((8,), lambda i: ())
# -> ShapeError
# compute: the function returned no expression
#   at no_expression.py:4
#   hint: return one at least
