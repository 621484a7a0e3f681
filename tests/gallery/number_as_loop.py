# A loop is no number.
from flashsched import te

A = te.placeholder((8, 8), name="A")
C = te.compute((8, 8), lambda i, j: A[i, j] + 1, name="C")
s = te.create_schedule(C)
s[C].split(0, factor=4)
# -> UnknownNameError
# 0 is no loop
#   at number_as_loop.py:7
#   hint: use an axis of the stage, what a primitive returned, or a loop's name
