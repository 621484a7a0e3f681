# A schedule is of what is computed.
from flashsched import te

A = te.placeholder((8, 8), name="A")
te.create_schedule(A)
# -> ArgumentError
# A is a placeholder, and there is nothing to schedule in it
#   at schedule_of_a_placeholder.py:5
#   hint: give create_schedule what te.compute returned
