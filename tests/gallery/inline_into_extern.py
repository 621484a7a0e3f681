# A Python function reads arrays, not expressions.
from flashsched import te

A = te.placeholder((8,), name="A")
P = te.compute((8,), lambda i: A[i] + 1, name="P")
C = te.extern((8,), [P], lambda p, out: None, name="C")
s = te.create_schedule(C)
s[P].compute_inline()
# -> StructureError
# compute_inline(): the extern stage 'C' reads 'P', an array in memory, so it can't be inlined
#   | for i in range(8):
#   |   P(i=i):
#   |     P[i] = A[i] + 1.0
#   | C = extern <lambda>(P)  <--
#   at inline_into_extern.py:8
#   hint: let it read a copy: cache_read('P', 'global', ['C'])
