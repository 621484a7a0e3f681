# A factor is a whole number.
from flashsched import te

A = te.placeholder((8, 8), name="A")
C = te.compute((8, 8), lambda i, j: A[i, j] + 1, name="C")
s = te.create_schedule(C)
s[C].split("i", factor="4")
# -> ArgumentError
# split('i', factor='4'): factor must be an integer, got '4'
#   at factor_as_text.py:7
#   hint: split takes loop (the name of a loop), factor=None, nparts=None, tail='guard'
