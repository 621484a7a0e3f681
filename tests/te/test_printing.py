"""Printed expressions read back as themselves, with no more parentheses than Python needs."""

from __future__ import annotations

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashsched import te
from flashsched.te.expr import Binary, Cast, Compare, Const, Expr, Not, Select, Var, const
from flashsched.te.printing import expr_text

I, J, X = Var("i"), Var("j"), Var("x", "float32")  # noqa: E741
A = te.placeholder((4, 4), name="A")


@pytest.mark.parametrize(
    ("expr", "text"),
    [
        ((I + J) * 2, "(i + j) * 2"),
        (I + J * 2, "i + j * 2"),
        (I - (J - 1), "i - (j - 1)"),
        (I - J - 1, "i - j - 1"),
        (I // (J * 2) % 3, "i // (j * 2) % 3"),
        (I * -3 - -2, "i * -3 - -2"),
        ((I < 2) & (J > 1) | (I >= J), "i < 2 and j > 1 or i >= j"),
        ((I < 2) & ((J > 1) | (I >= J)), "i < 2 and (j > 1 or i >= j)"),
        (~((I < 2) & (J > 1)), "not (i < 2 and j > 1)"),
        (~(I < 2) & (J > 1), "not i < 2 and j > 1"),
        (te.minimum(I + 1, J), "min(i + 1, j)"),
        (te.select(I < 2, X, 0.0), "select(i < 2, x, 0.0)"),
        (te.exp(X + 1) * 2, "exp(x + 1.0) * 2.0"),
        (A[I + 1, J // 2] + X, "A[i + 1, j // 2] + x"),
        (te.placeholder((), name="s")[()] + X, "s[] + x"),
        (X.astype("float16") + 1, "float16(x) + float16(1.0)"),
        (const(3, "uint8"), "uint8(3)"),
        ((I & 3) << 1, "(i & 3) << 1"),
        (I & 3 << 1, "i & 6"),
        (te.max_value("float32") + X, "inf + x"),
    ],
)
def test_expressions_as_text(expr: Expr, text: str) -> None:
    assert str(expr) == text
    assert repr(expr) == text


def test_a_reduction_as_text() -> None:
    k, m = te.reduce_axis((0, 4), "k"), te.reduce_axis((0, 4), "m")
    assert str(te.sum(A[k, m] * 2, axis=[k, m])) == "sum(A[k, m] * 2.0, axis=[k, m])"
    assert str(te.max(A[k, 0], axis=k)) == "max(A[k, 0], axis=k)"
    both = te.comm_reducer(lambda a, b: (a[0] + b[0], a[1] * b[1]), lambda s, t: (0, 1), "both")
    found = [str(part) for part in both((A[k, 0], A[0, k]), axis=k)]
    assert found == [f"both((A[k, 0], A[0, k]), axis=k)[{n}]" for n in (0, 1)]


def test_variables_may_be_renamed() -> None:
    assert expr_text(I + J, {I: "i_1"}) == "i_1 + j"


def read_back(text: str) -> Expr:
    """The expression that Python's own parser makes of *text*."""
    operators = {
        ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.FloorDiv: "//", ast.Mod: "%", ast.BitAnd: "&", ast.BitOr: "|",
        ast.BitXor: "^", ast.LShift: "<<", ast.RShift: ">>", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=",
        ast.Eq: "==", ast.NotEq: "!=", ast.And: "and", ast.Or: "or",
    }  # fmt: skip

    def visit(node: ast.expr) -> Expr:
        match node:
            case ast.Constant(value):
                return const(value, "bool" if isinstance(value, bool) else "int64")
            case ast.UnaryOp(ast.USub(), ast.Constant(value)):
                return const(-value, "int64")
            case ast.UnaryOp(ast.Not(), inner):
                return Not(visit(inner))
            case ast.Name(name):
                return {"i": I, "j": J}[name]
            case ast.BinOp(a, op, b):
                return Binary(operators[type(op)], visit(a), visit(b))
            case ast.Compare(a, [op], [b]):
                return Compare(operators[type(op)], visit(a), visit(b))
            case ast.BoolOp(op, [first, *rest]):
                result = visit(first)
                for other in rest:
                    result = Binary(operators[type(op)], result, visit(other))
                return result
            case ast.Call(ast.Name("select"), [c, a, b]):
                return Select(visit(c), visit(a), visit(b))
            case ast.Call(ast.Name("int64"), [value]):
                return Cast(visit(value), "int64")
            case ast.Call(ast.Name(name), [a, b]):
                return Binary(name, visit(a), visit(b))
        raise AssertionError(ast.dump(node))

    return visit(ast.parse(text, mode="eval").body)


def grow(inner: st.SearchStrategy[Expr]) -> st.SearchStrategy[Expr]:
    arithmetic = st.sampled_from(["+", "-", "*", "//", "%", "&", "|", "^", "<<", ">>", "min", "max"])
    condition = st.builds(Compare, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), inner, inner)
    several = st.builds(Binary, st.sampled_from(["and", "or"]), condition, st.builds(Not, condition))
    condition = st.one_of(condition, several, several.map(Not), st.builds(Binary, st.just("and"), several, several))
    return st.one_of(
        st.builds(Binary, arithmetic, inner, inner),
        st.builds(Select, condition, inner, inner),
        condition.map(lambda c: Cast(c, "int64")),
    )


@given(st.recursive(st.one_of(st.sampled_from([I, J]), st.integers(-9, 9).map(lambda n: Const(n, "int64"))), grow))
def test_python_reads_the_text_back(expr: Expr) -> None:
    text = str(expr)
    back = read_back(text)
    assert str(back) == text
    assert ast.dump(ast.parse(str(back))) == ast.dump(ast.parse(text))
    assert te.same(back, expr)
