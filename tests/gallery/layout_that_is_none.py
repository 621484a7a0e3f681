# A layout is made of sums, products and quotients.
from flashsched import te

A = te.placeholder((8,), name="A")
P = te.compute((8,), lambda i: A[i] + 1, name="P")
C = te.compute((8,), lambda i: P[i] * 2, name="C")
s = te.create_schedule(C)
s[P].transform_layout("i -> i ** 2")
# -> ArgumentError
# transform_layout('i -> i ** 2'): 'i -> i ** 2' is no layout: 'i ** 2' may not stand in a layout
#   at layout_that_is_none.py:8
#   hint: write it like 'k, j -> j // 32, k, j % 32'
