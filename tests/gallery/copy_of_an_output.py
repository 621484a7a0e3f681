# A copy is read by someone.
from flashsched import te

A = te.placeholder((8, 8), name="A")
C = te.compute((8, 8), lambda i, j: A[i, j] + 1, name="C")
s = te.create_schedule(C)
s.cache_read(C, "local")
# -> StructureError
# cache_read('local'): nothing reads 'C', so a copy would be read by nobody
#   | for i in range(8):
#   |   for j in range(8):
#   |     C(i=i, j=j):
#   |       C[i, j] = A[i, j] + 1.0
#   at copy_of_an_output.py:7
#   hint: to compute it elsewhere and copy it out: cache_write('C', 'local')
