# A tensor to copy is named as it is.
from flashsched import te

A = te.placeholder((8, 8), name="A")
C = te.compute((8, 8), lambda i, j: A[i, j] + 1, name="C")
s = te.create_schedule(C)
s.cache_read("B", "local")
# -> UnknownNameError
# cache_read('local'): no tensor named 'B'
#   | for i in range(8):
#   |   for j in range(8):
#   |     C(i=i, j=j):
#   |       C[i, j] = A[i, j] + 1.0
#   at misspelt_tensor.py:7
#   hint: known: A, C
