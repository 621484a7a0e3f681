"""tanh and erf of float32 by tables, for CPUs that look up 16 numbers in one instruction (AVX-512).

Between 0 and 15 stand 16 intervals, four to each power of two that ``size + 1`` lies in, so that the bits of that
number say which. In each the function is a polynomial of degree 6 around a center. That takes half the time of
polynomials that serve everywhere with an exponential (`flashsched.codegen.emit_math`), which other CPUs use.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from flashsched.codegen.emit_code import Code, Value, literal

__all__ = ["TABLES", "has_tables", "looked_up"]

_LANES: Final = 16
_BEYOND: Final = 14.5  # every function here is 1 from there on
_NEAR: Final = 1.25  # what size + 1 is at the end of the first interval, whose center is 0

_Table = tuple[tuple[float, ...], ...]

TABLES: Final[dict[str, _Table]] = {
    "tanh": (
        (0.0, 0.3749997615814209, 0.6249899864196777, 0.874995231628418, 1.249990463256836, 1.7499933242797852,
         2.249998092651367, 2.7500152587890625, 3.5000133514404297, 4.500053405761719, 5.500347137451172,
         6.499103546142578, 7.99542236328125, 10.004570007324219, 12.0, 14.0),
        (0.0, 0.35835719108581543, 0.5545927882194519, 0.7039031982421875, 0.8482809662818909, 0.9413747787475586,
         0.9780260324478149, 0.9918599724769592, 0.9981779456138611, 0.9997532367706299, 0.9999666213989258,
         0.9999954700469971, 0.9999997615814209, 1.0, 1.0, 1.0),
        (5.4455648879070395e-09, 0.8715801239013672, 0.692426860332489, 0.5045202970504761, 0.2804192900657654,
         0.11381347477436066, 0.043465081602334976, 0.01621379517018795, 0.003640852402895689, 0.0004934725002385676,
         6.675820623058826e-05, 9.057520401256625e-06, 4.546696743545908e-07, 8.165981668639688e-09, 0.0, 0.0),
        (-1.5662245687053655e-06, -0.3123375475406647, -0.3840143382549286, -0.3551334738731384,
         -0.23787450790405273, -0.10714112967252731, -0.04251011833548546, -0.016081923618912697,
         -0.0036341857630759478, -0.000493341067340225, -6.682674575131387e-05, -8.972985597210936e-06,
         -2.5465146791248117e-07, -8.024445463661323e-08, 0.0, 0.0),
        (-0.33325934410095215, -0.17859962582588196, -0.017845679074525833, 0.08180228620767593, 0.1083262637257576,
         0.06292878091335297, 0.027087578549981117, 0.010546243749558926, 0.0024117433931678534,
         0.0003284262493252754, 4.448671461432241e-05, 6.035499154677382e-06, 3.009802469478018e-07,
         6.282661058065742e-09, 0.0, 0.0),
        (-0.0012848018668591976, 0.16819767653942108, 0.1377953141927719, 0.06079960614442825, -0.01258295588195324,
         -0.02352432906627655, -0.012317712418735027, -0.005096057429909706, -0.0011973767541348934,
         -0.0001641173439566046, -2.1532594473683275e-05, -3.910331088263774e-06, -6.775828751415247e-07,
         1.873952584219296e-07, 0.0, 0.0),
        (0.1434936374425888, 0.018919816240668297, -0.054216645658016205, -0.058463674038648605, -0.0196877121925354,
         0.0034832449164241552, 0.003981034271419048, 0.001910725375637412, 0.0004901319625787437,
         6.818782276241109e-05, 9.140687325270846e-06, 1.244588474946795e-06, 6.656718909425763e-08,
         -1.5091171368109002e-10, 0.0, 0.0),
        (-0.037577785551548004, -0.07265112549066544, -0.019625244662165642, 0.01288348063826561,
         0.015087462961673737, 0.00209571304731071, -0.0007689025369472802, -0.0005808600108139217,
         -0.00015754341438878328, -2.2497086320072412e-05, -4.825115865969565e-06, 1.9473836800898425e-06,
         3.26081931234512e-07, -1.2608964539140288e-07, 0.0, 0.0),
    ),
    "erf": (
        (0.0, 0.3749990463256836, 0.6250004768371582, 0.8750104904174805, 1.2499990463256836, 1.7499923706054688,
         2.2499942779541016, 2.7500152587890625, 3.5011425018310547, 4.5, 5.5, 6.5, 8.0, 10.0, 12.0, 14.0),
        (0.0, 0.4041159749031067, 0.6232412457466125, 0.7840805649757385, 0.9228999018669128, 0.9866712689399719,
         0.9985372424125671, 0.9998993873596191, 0.9999992847442627, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0),
        (0.12837916612625122, 0.9803535342216492, 0.7634990811347961, 0.5247353911399841, 0.23652176558971405,
         0.05277625471353531, 0.007142485119402409, 0.0005862409598194063, 5.354534096113639e-06,
         1.811239824789368e-09, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
        (-5.050272307016712e-07, -0.3676318824291229, -0.47718682885169983, -0.4591483473777771,
         -0.29565224051475525, -0.09235826879739761, -0.01607050560414791, -0.0016121688531711698,
         -1.987254108826164e-05, -2.1445865527880414e-08, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
        (-0.3760944902896881, -0.23488233983516693, -0.05567241832613945, 0.0929320827126503, 0.16752417385578156,
         0.0901787132024765, 0.021727347746491432, 0.0027582156471908092, 4.0475682908436283e-05,
         2.176599700476345e-08, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
        (-0.0006123456987552345, 0.16660676896572113, 0.1763952672481537, 0.11230947077274323,
         -0.0061274305917322636, -0.04810653626918793, -0.01908975839614868, -0.003256791504099965,
         -5.637813592329621e-05, 8.522376049313607e-08, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
        (0.11789952963590622, 0.04567008838057518, -0.027156801894307137, -0.06711451709270477,
         -0.046789318323135376, 0.005973867140710354, 0.010582035407423973, 0.002823328133672476,
         0.00010241937707178295, 1.2530712467651028e-07, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
        (-0.01899249106645584, -0.05046463385224342, -0.03888485208153725, -0.007484473288059235,
         0.020534822717308998, 0.009061610326170921, -0.0027660515625029802, -0.0016733898082748055,
         -0.00011318767792545259, -4.93086247388419e-07, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    ),
}  # fmt: skip
"""For each function the centers, then coefficient 0 to 6, each for all intervals. In the first interval the polynomial
is of what the function has beyond its argument. Centers are such that coefficient 0 rounds by less than 1/50 ulp; the
others are least squares fits, reweighted until the largest relative error was about least, each rounded before the
next was fitted: the errors are at most 2**-26.4 for tanh and 2**-25.4 for erf."""


def has_tables(code: Code, kind: str) -> bool:
    """Whether functions of *kind* are looked up on the CPU that *code* is for."""
    target = code.module.target
    return kind == "float" and target.vector_bits == 512 and target.has("avx512f")


def looked_up(code: Code, function: str, x: Value) -> Value:
    """*function*, one of `TABLES`, of floats: within 1 ulp, in any number of lanes with the same bits."""
    return _by_sixteen(code, x, lambda part: _of_sixteen(code, TABLES[function], part))


def _of_sixteen(code: Code, table: _Table, x: Value) -> Value:
    size = code.intrinsic("fabs", x)
    size = code.select(code.compare("fcmp ogt", size, literal(_BEYOND, "float")), literal(_BEYOND, "float"), size)
    moved = code.op("fadd", size, literal(1.0, "float"))
    bits = code.convert("bitcast", moved, "i32")
    place = code.op("lshr", bits, literal(21, "i32"))  # its last four bits count quarters of powers of two
    center, *coefficients = (_pick(code, row, place) for row in table)
    t = code.op("fsub", size, center)
    result = coefficients[-1]
    for coefficient in reversed(coefficients[1:-1]):
        result = code.intrinsic("fma", result, t, coefficient)
    start = code.select(code.compare("fcmp olt", moved, literal(_NEAR, "float")), size, coefficients[0])
    return code.intrinsic("copysign", code.intrinsic("fma", result, t, start), x)


def _pick(code: Code, row: tuple[float, ...], place: Value) -> Value:
    """For each lane the number of *row* for the interval whose last four bits are those of *place*."""
    first = 127 << 2 & 15  # those of 1.0
    turned = row[-first:] + row[:-first]
    of, name = f"<{_LANES} x float>", "llvm.x86.avx512.permvar.sf.512"
    code.module.declare(name, of, [of, place.type])
    numbers = ", ".join(f"float {literal(number, 'float').text}" for number in turned)
    return code.make(f"call {of} @{name}({of} <{numbers}>, {place.type} {place.text})", "float", _LANES)


def _by_sixteen(code: Code, x: Value, function: Callable[[Value], Value]) -> Value:
    """*function* of each lane of *x*, taken 16 at a time."""
    if x.lanes == _LANES:
        return function(x)
    if x.lanes == 1:
        return code.extract(function(code.broadcast(x, _LANES)), 0)
    whole: Value | None = None
    for first in range(0, x.lanes, _LANES):
        part = code.shuffle(x, x, [min(first + n, x.lanes - 1) for n in range(_LANES)])
        done = function(part)
        if whole is None:
            whole = done
        else:
            wider = code.shuffle(done, done, [n % _LANES for n in range(whole.lanes)])
            whole = code.shuffle(whole, wider, range(whole.lanes + _LANES))
    assert whole is not None
    return whole if whole.lanes == x.lanes else code.shuffle(whole, whole, range(x.lanes))
