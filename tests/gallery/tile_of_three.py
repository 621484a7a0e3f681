# A tile has two loops.
from flashsched import te

A = te.placeholder((8, 8), name="A")
C = te.compute((8, 8), lambda i, j: A[i, j] + 1, name="C")
s = te.create_schedule(C)
s.apply("tile", "C", {"loops": ["i", "j", "k"], "x_factor": 2, "y_factor": 2})
# -> ArgumentError
# tile('i', 'j', 'k', x_factor=2, y_factor=2): a tile has two loops, got 3
#   | for i in range(8):
#   |   for j in range(8):
#   |     C(i=i, j=j):
#   |       C[i, j] = A[i, j] + 1.0
#   at tile_of_three.py:7
#   hint: split and reorder tile any number of them
