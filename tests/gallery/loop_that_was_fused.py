# A loop that was fused is no more.
from flashsched import te

A = te.placeholder((8, 8), name="A")
C = te.compute((8, 8), lambda i, j: A[i, j] + 1, name="C")
s = te.create_schedule(C)
s[C].fuse("i", "j")
s[C].vectorize(C.op.axis[1])
# -> UnknownNameError
# vectorize('j'): loop 'j' of stage 'C' is no more: fuse('i', 'j') took it
#   | for i.j in range(64):
#   |   C(i=i.j // 8, j=i.j % 8):
#   |     C[i, j] = A[i, j] + 1.0
#   at loop_that_was_fused.py:8
#   hint: its loops now: i.j
