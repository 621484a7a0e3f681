# An extern stage has a function.
from flashsched import te

A = te.placeholder((8,), name="A")
te.extern((8,), [A], "sort", name="C")
# -> ExpressionError
# C: 'sort' can't be called
#   at extern_without_function.py:5
#   hint: give a function of arrays
