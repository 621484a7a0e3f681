# A primitive of one's own takes what its function takes.
import flashsched as fs
from flashsched import te

A = te.placeholder((8, 8), name="A")
C = te.compute((8, 8), lambda i, j: A[i, j] + 1, name="C")
s = te.create_schedule(C)


@fs.primitive
def strips(s, C, width=4):
    s[C].split("i", factor=width)


strips(s, C, widht=2)
# -> ArgumentError
# strips(…): got an unexpected keyword argument 'widht'
#   at own_wrong_argument.py:15
#   hint: strips takes C, width=4
