# A primitive of one's own has a name of its own.
import flashsched as fs


@fs.primitive
def split(s, C):
    s[C].split("i", factor=4)


print(split)
# -> ArgumentError
# there is a built-in primitive 'split'
#   at own_name_taken.py:5
#   hint: primitive(name='my_split')
