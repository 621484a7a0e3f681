# An intrinsic computes what the loops do.
import flashsched as fs
from flashsched import te

A, B = te.placeholder((8, 8), name="A"), te.placeholder((8, 8), name="B")
k = te.reduce_axis((0, 8), name="k")
C = te.compute((8, 8), lambda i, j: te.sum(A[i, k] * B[k, j], axis=k), name="C")
s = te.create_schedule(C)
X, Y = te.placeholder((8,), name="X"), te.placeholder((8,), name="Y")
Z = te.compute((8,), lambda i: X[i] + Y[i], name="Z")
add8 = fs.intrinsic(
    "gallery.add8", Z, body="define void @add8(ptr, i64, ptr, i64, ptr, i64) { ret void }", replace=True
)
s[C].tensorize("k", add8)
# -> MatchError
# tensorize('k', 'gallery.add8'): loop 'k' is not what 'gallery.add8' computes: the value, right of '+': expected a load of float32 (Y[i]), found '*' of float32 (A[i, k] * B[k, j])
#   | for i in range(8):
#   |   for j in range(8):
#   |     for k in range(8):  # tensorize, intrinsic=gallery.add8  <--
#   |       C(i=i, j=j, k=k):  # reduces k
#   |         init C[i, j] = 0.0
#   |         C[i, j] = C[i, j] + A[i, k] * B[k, j]
#   |
#   | gallery.add8 computes
#   | for i in range(8):
#   |   Z(i=i):
#   |     Z[i] = X[i] + Y[i]
#   at tensorize_another_nest.py:14
#   hint: split and reorder so that its loops have these turns and stand inside; what is read may be packed with transform_layout
