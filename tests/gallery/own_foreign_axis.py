# A primitive of one's own is given loops of the schedule.
import flashsched as fs
from flashsched import te

A = te.placeholder((8, 8), name="A")
C = te.compute((8, 8), lambda i, j: A[i, j] + 1, name="C")
s = te.create_schedule(C)
D = te.compute((8,), lambda n: A[n, 0], name="D")


@fs.primitive
def unrolled(s, loop):
    s["C"].unroll(loop.name)


unrolled(s, D.op.axis[0])
# -> ArgumentError
# axis 'n' belongs to no stage of this schedule
#   at own_foreign_axis.py:16
#   hint: take it from s[C].op.axis or s[C].loops
