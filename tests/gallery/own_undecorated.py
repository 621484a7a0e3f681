# A function is marked as a primitive.
import flashsched as fs
from flashsched import te

A = te.placeholder((8, 8), name="A")
C = te.compute((8, 8), lambda i, j: A[i, j] + 1, name="C")
s = te.create_schedule(C)


def strips(s, C, width=4):
    s[C].split("i", factor=width)


s.do(strips, C)
# -> ArgumentError
# strips is no primitive
#   at own_undecorated.py:14
#   hint: decorate the function with @fs.primitive
