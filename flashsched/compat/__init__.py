"""Other systems' names over ours: `flashsched.compat.tvm` speaks as TVM did up to version 0.19.

It stands on the top floor, so nothing below knows of it, and ``import flashsched`` does not import it.
"""
