# A size is a whole number.
from flashsched import te

te.placeholder((8, 2.5), name="A")
# -> ShapeError
# a shape is made of integers from 0 up, and 2.5 in (8, 2.5) is none
#   at fractional_size.py:4
#   hint: give each dimension its number of elements: (64, 32)
