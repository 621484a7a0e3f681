# A layout is short.
from flashsched import te

A = te.placeholder((8,), name="A")
P = te.compute((8,), lambda i: A[i] + 1, name="P")
C = te.compute((8,), lambda i: P[i] * 2, name="C")
s = te.create_schedule(C)
s[P].transform_layout("i -> " + " + ".join(["i"] * 99))
# -> ArgumentError
# transform_layout('i -> i + i + i + i + i + i + i + i + i + i + i + i + i + i + i + i + i + i + …'): 'i -> i + i + i + i + i + i + i + i + i +…' is no layout: it has 398 characters
#   at layout_too_long.py:8
#   hint: write it in 240 at the most
