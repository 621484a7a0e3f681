# An extern stage reads tensors.
from flashsched import te

te.extern((8,), [3], lambda a, out: None, name="C")
# -> ExpressionError
# C: 3 is no tensor
#   at extern_of_numbers.py:4
#   hint: name the tensors that are read
