# A vector is innermost.
from flashsched import te

A = te.placeholder((8, 8), name="A")
C = te.compute((8, 8), lambda i, j: A[i, j] + 1, name="C")
s = te.create_schedule(C)
s[C].vectorize("i")
# -> StructureError
# vectorize('i'): loop 'i' is not innermost: loop 'j' is inside it
#   | for i in range(8):  <--
#   |   for j in range(8):
#   |     C(i=i, j=j):
#   |       C[i, j] = A[i, j] + 1.0
#   at vectorize_outer.py:7
#   hint: reorder so that 'i' comes last
