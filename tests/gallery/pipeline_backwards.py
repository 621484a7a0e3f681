# What is read is computed before.
from flashsched import te

A = te.placeholder((8, 8), name="A")
P = te.compute((8, 8), lambda i, j: A[i, j] + 1, name="P")
C = te.compute((8, 8), lambda i, j: P[i, j] * 2, name="C")
s = te.create_schedule(C)
s[P].compute_at(s[C], "i")
s[C].software_pipeline("i", stages=[1, 0])
# -> DependenceError
# software_pipeline('i', ['P', 'C'], stages=[1, 0]): 'C' needs 'P', and would run before it is computed
#   | for i in range(8):  # pipeline={'P': (1, 0), 'C': (0, 1)}  <--
#   |   for i_1 in range(1):
#   |     for j in range(8):
#   |       P(i=i, j=j):
#   |         P[i, j] = A[i, j] + 1.0
#   |   for j in range(8):
#   |     C(i=i, j=j):
#   |       C[i, j] = P[i, j] * 2.0
#   at pipeline_backwards.py:9
#   hint: a piece comes in the stage of what it reads or a later one, and after it in one stage
