# An output lies where the caller put it.
from flashsched import te

A = te.placeholder((8, 8), name="A")
C = te.compute((8, 8), lambda i, j: A[i, j] + 1, name="C")
s = te.create_schedule(C)
s[C].set_scope("local")
# -> OutputError
# set_scope('local'): 'C' is an output, and lives where the caller put it
#   | for i in range(8):
#   |   for j in range(8):
#   |     C(i=i, j=j):  <--
#   |       C[i, j] = A[i, j] + 1.0
#   at scope_of_output.py:7
#   hint: compute into a copy: cache_write('C', 'local')
