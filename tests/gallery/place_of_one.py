# A place in a trace is a stage and a loop.
from flashsched import te

A = te.placeholder((8,), name="A")
P = te.compute((8,), lambda i: A[i] + 1, name="P")
C = te.compute((8,), lambda i: P[i] * 2, name="C")
s = te.create_schedule(C)
s.apply("compute_at", "P", {"at": ["C"]})
# -> ArgumentError
# compute_at('C'): at must be a stage and one of its loops, got ['C']
#   at place_of_one.py:8
#   hint: compute_at takes at (a stage and one of its loops)
