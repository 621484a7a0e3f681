# A step has a primitive and a stage.
from flashsched import Trace

Trace.from_json({"version": 1, "steps": [{"do": "split"}]})
# -> TraceError
# {'do': 'split'} is no step of a trace: 'stage'
#   at step_that_is_none.py:4
#   hint: a step is an object with 'do', 'stage', the arguments by name, and 'out'
