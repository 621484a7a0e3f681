# Only a reduction begins with an identity.
from flashsched import te

A = te.placeholder((8, 8), name="A")
C = te.compute((8, 8), lambda i, j: A[i, j] + 1, name="C")
s = te.create_schedule(C)
s[C].decompose_reduction("i")
# -> StructureError
# decompose_reduction('i'): 'C' is no reduction, and sets nothing to an identity
#   | for i in range(8):
#   |   for j in range(8):
#   |     C(i=i, j=j):  <--
#   |       C[i, j] = A[i, j] + 1.0
#   at decompose_a_copy.py:7
#   hint: decompose the stage that has the reduction: after cache_write, that is the new one
