# A trace has steps.
from flashsched import Trace

Trace.from_json(["split"])
# -> TraceError
# not a trace: ['split']
#   at trace_that_is_none.py:4
#   hint: a trace is an object with 'version' and 'steps'
