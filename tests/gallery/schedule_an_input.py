# An input is not computed.
from flashsched import te

A = te.placeholder((8, 8), name="A")
C = te.compute((8, 8), lambda i, j: A[i, j] + 1, name="C")
s = te.create_schedule(C)
s[A].unroll("i")
# -> OutputError
# A is an input: it is not computed here, so it has no loops
#   at schedule_an_input.py:7
#   hint: schedule a copy of it: s.cache_read(A, 'global')
