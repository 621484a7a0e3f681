# There are a few scopes.
from flashsched import te

A = te.placeholder((8, 8), name="A")
C = te.compute((8, 8), lambda i, j: A[i, j] + 1, name="C")
s = te.create_schedule(C)
s.cache_write(C, "locale")
# -> UnknownNameError
# cache_write('locale'): no memory scope 'locale'
#   | for i in range(8):
#   |   for j in range(8):
#   |     C(i=i, j=j):
#   |       C[i, j] = A[i, j] + 1.0
#   at misspelt_scope.py:7
#   hint: did you mean local?
