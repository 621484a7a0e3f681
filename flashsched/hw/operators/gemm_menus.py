"""Which kernels a vendor's library has for matrix products, by architecture: a tile of the result for each block, and
the slices of the reduction.

Libraries differ in it more than devices do. cuBLAS names its fp32 kernels by the tile's side along n first, and up to
Ampere has few that are long along m; for batches it has fewer still: 128 × 128 alone on an A100, 64 × 128 on a P100,
none above 64 × 64 on a V100, and none that split a reduction. AMD's library splits none at all, and no kernel of
operands that are scaled by block does. On a P4 rows of odd lengths get the tiles of a P100. Read off the names of
launched kernels and their grids in the tables of sitar-lab/NeuSight (MIT); tensor cores' tiles are CUTLASS's and
cuBLAS's usual ones.
"""

from __future__ import annotations

from dataclasses import dataclass

from flashsched.hw.constants import family_of
from flashsched.hw.spec import DeviceSpec

__all__ = ["Menu", "Tiles", "menu_of"]

Tiles = tuple[tuple[int, int], ...]

_SPLITS = (1, 2, 3, 4, 6, 8, 16, 32)


@dataclass(frozen=True, slots=True)
class Menu:
    """The kernels of a library: rows and columns of the result that a block computes, and slices of the reduction.

    ``batched`` and ``ragged`` are the tiles that it has for batches of products, and for single ones whose rows have
    odd lengths, where they are others. ``one_by_one``: its ragged kernels load elements one by one, and wait for each.
    """

    tiles: Tiles
    batched: Tiles
    ragged: Tiles = ()
    splits: tuple[int, ...] = _SPLITS
    batched_splits: tuple[int, ...] = (1,)
    one_by_one: bool = False


_TENSOR = (
    (256, 128), (128, 256), (128, 128), (128, 64), (64, 128), (64, 64),
    (128, 32), (32, 128), (64, 32), (32, 64), (32, 32),
)  # fmt: skip
_PLAIN = _TENSOR[2:]  # their registers hold no more
_OF_64 = ((64, 64), (128, 32), (32, 128))
_ACROSS = ((128, 128), (64, 128), (64, 64), (128, 32), (32, 128), (32, 64), (32, 32))

_OF_SCALED = Menu(_TENSOR, _TENSOR, splits=(1,))
_OF_TENSORS = Menu(_TENSOR, _TENSOR, batched_splits=_SPLITS)
_OF_LANES = Menu(_PLAIN, _PLAIN)
_BY_FAMILY = {
    "pascal": Menu(((128, 128), (64, 128), *_OF_64), ((64, 128),), _OF_64, one_by_one=True),
    "pascal 64": Menu(_OF_64, ((64, 128),), one_by_one=True),
    "volta": Menu(_ACROSS, ((64, 64), (128, 32), (32, 128)), one_by_one=True),
    "turing": Menu(_ACROSS, ((64, 128), (64, 64), (32, 128), (128, 32)), one_by_one=True),
    "ampere": Menu(_ACROSS, ((128, 128),)),
    "hopper": Menu(
        ((128, 256), (64, 256), (256, 64), *_PLAIN), ((256, 128), (128, 256), (64, 256), (256, 64), *_PLAIN)
    ),
    "cdna2": Menu(
        ((192, 64), (160, 128), (128, 128), (96, 128), (128, 64), (64, 128), (96, 96), (64, 64), (32, 128), (32, 64),
         (32, 32)),
        ((96, 96), (128, 64), (64, 128), (64, 64), (32, 64), (64, 16), (16, 64), (32, 32), (16, 16)),
        splits=(1,),
    ),
}  # fmt: skip


def menu_of(spec: DeviceSpec, tensor: bool, scaled: bool = False) -> Menu:
    """The kernels of *spec*'s library, on matrix units where *tensor* says so, of operands that are *scaled* by block;
    of an unknown family all usual ones.

    >>> from flashsched.hw.registry import devices
    >>> menu_of(devices["v100-sim"], tensor=False).batched
    ((64, 64), (128, 32), (32, 128))
    """
    if tensor:
        return _OF_SCALED if scaled else _OF_TENSORS
    family = family_of(spec)
    if family == "pascal" and spec.gpu is not None and spec.gpu.schedulers == 2:  # 64 lanes a unit: a P100
        family = "pascal 64"
    return _BY_FAMILY.get(family, _OF_LANES)
