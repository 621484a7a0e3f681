# All readers see the stage.
from flashsched import te

A = te.placeholder((8,), name="A")
P = te.compute((8,), lambda i: A[i] + 1, name="P")
C = te.compute((8,), lambda i: P[i] * 2, name="C")
D = te.compute((8,), lambda i: P[i] - 1, name="D")
s = te.create_schedule([C, D])
s[C].split("i", factor=4)
s[P].compute_at(s[C], "i.o")
# -> DependenceError
# compute_at('C', 'i.o'): 'D' reads 'P' outside loop 'i.o' of 'C'
#   | for i in range(8):
#   |   P(i=i):
#   |     P[i] = A[i] + 1.0
#   | for i.o in range(2):  <--
#   |   for i.i in range(4):
#   |     C(i=i.o * 4 + i.i):
#   |       C[i] = P[i] * 2.0
#   | for i in range(8):
#   |   D(i=i):
#   |     D[i] = P[i] - 1.0
#   at reader_outside.py:10
#   hint: move 'D' inside that loop first, or choose a loop around all readers
