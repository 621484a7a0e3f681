# A trace replays on another size where its steps can still be taken.
from flashsched import te


def doubled(n):
    A = te.placeholder((n,), name="A")
    return te.compute((n,), lambda i: A[i] * 2, name="C")


C = doubled(64)
s = te.create_schedule(C)
s[C].unroll("i")
s.trace.replay_on(doubled(5000))
# -> TraceError
# step 1 of 1, C: unroll('i'): loop 'i' has 5000 turns, and at most 1024 can be written out
#   | for i in range(5000):  <--
#   |   C(i=i):
#   |     C[i] = A[i] * 2.0
#   at trace_on_another_size.py:13
#   hint: split it and take the inner loop: split('i', factor=8); replay(..., strict=False) leaves out the steps that do not fit
