# A schedule is of something.
from flashsched import te

te.create_schedule([])
# -> ArgumentError
# create_schedule needs the tensors to compute
#   at schedule_of_nothing.py:4
#   hint: te.create_schedule(C)
