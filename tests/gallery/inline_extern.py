# A Python function has no expression.
from flashsched import te

A = te.placeholder((8,), name="A")
P = te.extern((8,), [A], lambda a, out: None, name="P")
C = te.compute((8,), lambda i: P[i] * 2, name="C")
s = te.create_schedule(C)
s[P].compute_inline()
# -> StructureError
# compute_inline(): 'P' is an extern stage: its function fills whole arrays, so it can't be inlined
#   | P = extern <lambda>(A)  <--
#   | for i in range(8):
#   |   C(i=i):
#   |     C[i] = P[i] * 2.0
#   at inline_extern.py:8
#   hint: schedule the stages around it; a copy of what it gives (cache_read) can be moved
