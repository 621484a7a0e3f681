"""Operators written in te, with the templates that schedule them for each kind of device."""

from __future__ import annotations

from flashsched.ops.attention import attention
from flashsched.ops.conv2d import conv2d, packed_conv2d
from flashsched.ops.decisions import choose_order, choose_split
from flashsched.ops.elementwise import add, relu
from flashsched.ops.gelu import gelu
from flashsched.ops.matmul import batch_matmul, matmul, packed_matmul
from flashsched.ops.norm import layernorm, rmsnorm
from flashsched.ops.operator import OPERATORS, Operator, find_operator, operator, register
from flashsched.ops.reduction import max_over, mean_over, sum_over
from flashsched.ops.softmax import softmax
from flashsched.ops.transpose import transpose

__all__ = [
    "OPERATORS",
    "Operator",
    "add",
    "attention",
    "batch_matmul",
    "choose_order",
    "choose_split",
    "conv2d",
    "find_operator",
    "gelu",
    "layernorm",
    "matmul",
    "max_over",
    "mean_over",
    "operator",
    "packed_conv2d",
    "packed_matmul",
    "register",
    "relu",
    "rmsnorm",
    "softmax",
    "sum_over",
    "transpose",
]
