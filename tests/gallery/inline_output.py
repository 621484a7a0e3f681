# The caller wants an output in memory.
from flashsched import te

A = te.placeholder((8, 8), name="A")
C = te.compute((8, 8), lambda i, j: A[i, j] + 1, name="C")
s = te.create_schedule(C)
s[C].compute_inline()
# -> OutputError
# compute_inline(): 'C' is an output, and the caller wants it in memory
#   | for i in range(8):
#   |   for j in range(8):
#   |     C(i=i, j=j):  <--
#   |       C[i, j] = A[i, j] + 1.0
#   at inline_output.py:7
#   hint: inline what it reads into it
