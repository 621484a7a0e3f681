# `cache_write` comes first.
from flashsched import te

A = te.placeholder((8, 8), name="A")
C = te.compute((8, 8), lambda i, j: A[i, j] + 1, name="C")
s = te.create_schedule(C)
s[C].split("i", factor=4)
s.cache_write(C, "local")
# -> StructureError
# cache_write('local'): 'C' was scheduled already (split('i', factor=4)), and cache_write would throw that away
#   | for i.o in range(2):
#   |   for i.i in range(4):
#   |     for j in range(8):
#   |       C(i=i.o * 4 + i.i, j=j):  <--
#   |         C[i, j] = A[i, j] + 1.0
#   at cache_write_too_late.py:8
#   hint: call cache_write first, then schedule both stages
