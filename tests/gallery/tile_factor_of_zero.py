# A tile has turns, too.
from flashsched import te

A = te.placeholder((8, 8), name="A")
C = te.compute((8, 8), lambda i, j: A[i, j] + 1, name="C")
s = te.create_schedule(C)
s[C].tile("i", "j", 4, 0)
# -> ArgumentError
# tile('i', 'j', x_factor=4, y_factor=0): split('j', factor=0, tail='guard'): factor must be at least 1, got 0
#   | for i.o in range(2):
#   |   for i.i in range(4):
#   |     for j in range(8):
#   |       C(i=i.o * 4 + i.i, j=j):
#   |         C[i, j] = A[i, j] + 1.0
#   at tile_factor_of_zero.py:7
#   hint: it counts turns: factor=4
