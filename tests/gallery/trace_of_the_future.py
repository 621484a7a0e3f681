# A newer trace may mean something else.
from flashsched import Trace

Trace.from_json({"version": 9, "steps": []})
# -> TraceError
# this trace has version 9, and this flashsched reads version 1
#   at trace_of_the_future.py:4
#   hint: upgrade flashsched to use it
