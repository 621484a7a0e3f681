# A vector stays innermost.
from flashsched import te

A = te.placeholder((8, 8), name="A")
C = te.compute((8, 8), lambda i, j: A[i, j] + 1, name="C")
s = te.create_schedule(C)
s[C].vectorize("j")
s[C].reorder("j", "i")
# -> StructureError
# reorder('j', 'i'): loop 'j' is vectorized and must stay innermost
#   | for i in range(8):
#   |   for j in range(8):  # vectorize  <--
#   |     C(i=i, j=j):
#   |       C[i, j] = A[i, j] + 1.0
#   at reorder_vectorized.py:8
#   hint: name it last, or vectorize after reordering
