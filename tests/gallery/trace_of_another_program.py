# A trace fits the program that it was made for.
from flashsched import te

A = te.placeholder((8, 8), name="A")
C = te.compute((8, 8), lambda i, j: A[i, j] + 1, name="C")
s = te.create_schedule(C)
s[C].vectorize("j")
X = te.placeholder((8,), name="X")
Y = te.compute((8,), lambda i: X[i] + 1, name="Y")
s.trace.replay_on(Y)
# -> TraceError
# step 1 of 1, C: vectorize('j'): no stage named 'C'
#   | for i in range(8):
#   |   Y(i=i):
#   |     Y[i] = X[i] + 1.0
#   at trace_of_another_program.py:10
#   hint: known: Y; replay(..., strict=False) leaves out the steps that do not fit
