# A pipeline has a few stages.
from flashsched import te

A = te.placeholder((8, 8), name="A")
P = te.compute((8, 8), lambda i, j: A[i, j] + 1, name="P")
C = te.compute((8, 8), lambda i, j: P[i, j] * 2, name="C")
s = te.create_schedule(C)
s[P].compute_at(s[C], "i")
s[C].software_pipeline("i", stages=[0, 99])
# -> LimitError
# software_pipeline('i', ['P', 'C'], stages=[0, 99]): 100 stages, and 8 is the limit
#   | for i in range(8):  <--
#   |   for i_1 in range(1):
#   |     for j in range(8):
#   |       P(i=i, j=j):
#   |         P[i, j] = A[i, j] + 1.0
#   |   for j in range(8):
#   |     C(i=i, j=j):
#   |       C[i, j] = P[i, j] * 2.0
#   at pipeline_of_too_many.py:9
#   hint: more turns ahead need more memory and code; split the loop for longer turns
