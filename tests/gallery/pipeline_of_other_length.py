# A pipeline has a stage for each piece of the body.
from flashsched import te

A = te.placeholder((8, 8), name="A")
P = te.compute((8, 8), lambda i, j: A[i, j] + 1, name="P")
C = te.compute((8, 8), lambda i, j: P[i, j] * 2, name="C")
s = te.create_schedule(C)
s[P].compute_at(s[C], "i")
s[C].software_pipeline("i", stages=[0, 1, 2])
# -> ArgumentError
# software_pipeline('i', ['P', 'C'], stages=[0, 1, 2]): stages has 3 numbers, and the body of loop 'i' has 2 pieces: P, C
#   | for i in range(8):  <--
#   |   for i_1 in range(1):
#   |     for j in range(8):
#   |       P(i=i, j=j):
#   |         P[i, j] = A[i, j] + 1.0
#   |   for j in range(8):
#   |     C(i=i, j=j):
#   |       C[i, j] = P[i, j] * 2.0
#   at pipeline_of_other_length.py:9
#   hint: give one number for each piece, in the order of the text
