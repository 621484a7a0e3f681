# An expression is made of elements, axes and numbers.
from flashsched import te

A = te.placeholder((8, 8), name="A")
te.compute((8, 8), lambda i, j: A[i, j] + "one")
# -> DtypeError
# str 'one' is not a scalar expression
#   at text_in_expression.py:5
#   hint: use elements of tensors, axes and numbers
