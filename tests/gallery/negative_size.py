# A size is at least 0.
from flashsched import te

te.placeholder((8, -1), name="A")
# -> ShapeError
# a shape is made of integers from 0 up, and -1 in (8, -1) is none
#   at negative_size.py:4
#   hint: give each dimension its number of elements: (64, 32)
