# An intrinsic is declared.
from flashsched import te

A, B = te.placeholder((8, 8), name="A"), te.placeholder((8, 8), name="B")
k = te.reduce_axis((0, 8), name="k")
C = te.compute((8, 8), lambda i, j: te.sum(A[i, k] * B[k, j], axis=k), name="C")
s = te.create_schedule(C)
s[C].tensorize("j", "x86.fma.f32x12")
# -> UnknownNameError
# tensorize('j', 'x86.fma.f32x12'): no intrinsic named 'x86.fma.f32x12'; did you mean x86.fma.f32x16?
#   at tensorize_unknown.py:8
#   hint: a trace holds the name of an intrinsic, not its code: declare it with fs.intrinsic(...) first
