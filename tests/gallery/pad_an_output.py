# The caller's memory has the caller's size.
from flashsched import te

A = te.placeholder((10,), name="A")
C = te.compute((10,), lambda i: A[i] + 1, name="C")
s = te.create_schedule(C)
s[C].split("i", factor=4, tail="pad")
# -> OutputError
# split('i', factor=4, tail='pad'): padding 'i' makes what 'C' writes larger, and 'C' is an output of the caller's size
#   | for i in range(10):  <--
#   |   C(i=i):
#   |     C[i] = A[i] + 1.0
#   at pad_an_output.py:7
#   hint: compute into a copy and pad that: cache_write('C', 'local'); or use tail='cut' here
