# A primitive of one's own does what it did when its trace was recorded.
import flashsched as fs
from flashsched import te

A = te.placeholder((8, 8), name="A")
C = te.compute((8, 8), lambda i, j: A[i, j] + 1, name="C")
s = te.create_schedule(C)


@fs.primitive
def strips3(s, C):
    s[C].split("i", factor=WIDTH)


WIDTH = 4
strips3(s, C)
WIDTH = 2
s.trace.replay_on(C)
# -> TraceError
# step 1 of 1, strips3(C): strips3 does something else than when it was recorded: "C: split('i', factor=4)" then, "C: split('i', factor=2)" now
#   at own_changed.py:18
#   hint: it was changed since, or chooses by the sizes; trace.flat() has the recorded steps without the call; replay(..., strict=False) leaves out the steps that do not fit
