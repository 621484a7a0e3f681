# The caller wants an output in its own order.
from flashsched import te

A = te.placeholder((8, 8), name="A")
C = te.compute((8, 8), lambda i, j: A[i, j] + 1, name="C")
s = te.create_schedule(C)
s[C].transform_layout(lambda i, j: (j, i))
# -> OutputError
# transform_layout('i, j -> j, i'): 'C' is an output, and the caller expects it in its own order
#   | for i in range(8):
#   |   for j in range(8):
#   |     C(i=i, j=j):  <--
#   |       C[i, j] = A[i, j] + 1.0
#   at layout_of_output.py:7
#   hint: give its readers a copy in another order: cache_read('C', 'global')
