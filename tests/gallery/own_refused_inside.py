# A refused step inside a primitive of one's own names both.
import flashsched as fs
from flashsched import te

A, B = te.placeholder((8, 8), name="A"), te.placeholder((8, 8), name="B")
k = te.reduce_axis((0, 8), name="k")
C = te.compute((8, 8), lambda i, j: te.sum(A[i, k] * B[k, j], axis=k), name="C")
s = te.create_schedule(C)


@fs.primitive
def blocks(s, C, mr=4):
    outer, inner = s[C].split("i", factor=mr)
    s[C].vectorize(inner)


blocks(s, C, mr=2)
# -> StructureError
# blocks(C, mr=2): vectorize('i.i'): loop 'i.i' is not innermost: loops 'j', 'k' are inside it
#   | for i.o in range(4):
#   |   for i.i in range(2):  <--
#   |     for j in range(8):
#   |       for k in range(8):
#   |         C(i=i.o * 2 + i.i, j=j, k=k):  # reduces k
#   |           init C[i, j] = 0.0
#   |           C[i, j] = C[i, j] + A[i, k] * B[k, j]
#   at own_refused_inside.py:14
#   hint: reorder so that 'i.i' comes last
