# A loop belongs to one stage.
from flashsched import te

A = te.placeholder((8,), name="A")
P = te.compute((8,), lambda i: A[i] + 1, name="P")
C = te.compute((8,), lambda i: P[i] * 2, name="C")
s = te.create_schedule(C)
outer, inner = s[P].split("i", factor=4)
s[C].unroll(inner)
# -> UnknownNameError
# loop P.i.i belongs to stage 'P', not to 'C'
#   at loop_of_another_stage.py:9
#   hint: loops of C: i
