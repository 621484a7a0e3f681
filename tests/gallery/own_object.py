# What it is given can be kept in a trace.
import flashsched as fs
from flashsched import te

A = te.placeholder((8, 8), name="A")
C = te.compute((8, 8), lambda i, j: A[i, j] + 1, name="C")
s = te.create_schedule(C)


@fs.primitive
def strips2(s, C, how=None):
    s[C].split("i", factor=how(8))


strips2(s, C, how=int)
# -> ArgumentError
# <class 'int'> can't be kept in a trace
#   at own_object.py:15
#   hint: pass numbers, texts, tensors, stages, loops, and lists or dictionaries of these
