# An intrinsic has one output.
import flashsched as fs
from flashsched import te

A = te.placeholder((8,), name="A")
P, Q = te.compute((8,), lambda i: (A[i] + 1, A[i] - 1), name="P")
fs.intrinsic("gallery.two", P, body="define void @two(ptr, i64, ptr, i64) { ret void }")
# -> ArgumentError
# P has 2 outputs, and an intrinsic has one
#   at intrinsic_of_two.py:7
#   hint: declare one for each
