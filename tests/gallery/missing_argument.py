# What has no default is given.
from flashsched import te

A = te.placeholder((8, 8), name="A")
C = te.compute((8, 8), lambda i, j: A[i, j] + 1, name="C")
s = te.create_schedule(C)
s.apply("split", "C", {"factor": 4})
# -> ArgumentError
# split(factor=4): loop must be given
#   at missing_argument.py:7
#   hint: split takes loop (the name of a loop), factor=None, nparts=None, tail='guard'
