# The caller gives one buffer for an output.
from flashsched import te

A = te.placeholder((8, 8), name="A")
P = te.compute((8, 8), lambda i, j: A[i, j] + 1, name="P")
C = te.compute((8, 8), lambda i, j: P[i, j] * 2, name="C")
s = te.create_schedule(C)
s[C].double_buffer()
# -> OutputError
# double_buffer(): 'C' is an output, and the caller gave one buffer for it
#   | for i in range(8):
#   |   for j in range(8):
#   |     P(i=i, j=j):
#   |       P[i, j] = A[i, j] + 1.0
#   | for i in range(8):
#   |   for j in range(8):
#   |     C(i=i, j=j):  <--
#   |       C[i, j] = P[i, j] * 2.0
#   at double_buffer_of_output.py:8
#   hint: compute a tile of it ahead: cache_write('C', 'local'), then double_buffer what that reads
