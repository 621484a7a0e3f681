# A loop is named as it is printed.
from flashsched import te

A, B = te.placeholder((8, 8), name="A"), te.placeholder((8, 8), name="B")
k = te.reduce_axis((0, 8), name="k")
C = te.compute((8, 8), lambda i, j: te.sum(A[i, k] * B[k, j], axis=k), name="C")
s = te.create_schedule(C)
s[C].split("ii", factor=4)
# -> UnknownNameError
# split('ii', factor=4): no loop named 'ii'; stage 'C' has i, j, k
#   | for i in range(8):
#   |   for j in range(8):
#   |     for k in range(8):
#   |       C(i=i, j=j, k=k):  # reduces k
#   |         init C[i, j] = 0.0
#   |         C[i, j] = C[i, j] + A[i, k] * B[k, j]
#   at misspelt_loop.py:8
#   hint: did you mean i?
