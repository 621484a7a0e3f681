# A step gives the names that it gave when it was recorded.
from flashsched import te

A = te.placeholder((8, 8), name="A")
C = te.compute((8, 8), lambda i, j: A[i, j] + 1, name="C")
s = te.create_schedule(C)
from flashsched import Trace

step = {"do": "split", "stage": "C", "loop": "i", "factor": 4, "out": ["x", "y"]}
s.replay(Trace.from_json({"version": 1, "steps": [step]}))
# -> TraceError
# step 1 of 1, C: split('i', factor=4): it gave 'x', 'y' when it was recorded, and gives 'i.o', 'i.i'
#   at trace_with_other_names.py:10
#   hint: it was recorded on another program, or by another version of flashsched; replay(..., strict=False) leaves out the steps that do not fit
