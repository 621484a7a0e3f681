# The rows of an output lie as the caller put them.
from flashsched import te

A = te.placeholder((8, 8), name="A")
C = te.compute((8, 8), lambda i, j: A[i, j] + 1, name="C")
s = te.create_schedule(C)
s[C].storage_align(0, factor=16)
# -> OutputError
# storage_align(axis=0, factor=16, offset=0): 'C' is an output, and its rows lie as far apart as the caller put them
#   | for i in range(8):
#   |   for j in range(8):
#   |     C(i=i, j=j):  <--
#   |       C[i, j] = A[i, j] + 1.0
#   at align_an_output.py:7
#   hint: compute into a copy: cache_write('C', 'local'), and align that
