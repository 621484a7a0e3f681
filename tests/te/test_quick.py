"""Nodes that are quick to make: made, refused, copied and packed as dataclasses are."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from dataclasses import dataclass, field
from typing import Any

import pytest

from flashsched.schedule.ir import Block, For
from flashsched.te.expr import Const, Var
from flashsched.te.linear import Linear, structural_key
from flashsched.te.quick import quickly_made


@dataclass(frozen=True, slots=True)
class Plain:
    name: str
    size: int = 3
    notes: Any = field(default_factory=list)


@quickly_made
@dataclass(frozen=True, slots=True)
class Quick:
    name: str
    size: int = 3
    notes: Any = field(default_factory=list)


@quickly_made
@dataclass(frozen=True, slots=True)
class Longer(Quick):
    more: int = 4


def test_it_takes_what_a_dataclass_takes() -> None:
    for args, given in ((("a",), {}), (("a", 5), {}), ((), {"size": 1, "name": "b"}), (("a", 2), {"notes": 7})):
        assert dataclasses.astuple(Quick(*args, **given)) == dataclasses.astuple(Plain(*args, **given))
    assert list(inspect.signature(Quick).parameters) == list(inspect.signature(Plain).parameters)
    assert (Longer("a", more=1).name, Longer("a").more, Longer("a").size) == ("a", 4, 3)
    for wrong in ({}, {"name": "a", "other": 1}):
        with pytest.raises(TypeError):
            Quick(**wrong)  # type: ignore[arg-type]


def test_it_never_changes_and_travels() -> None:
    made = Quick("a", 1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.size = 2  # type: ignore[misc]
    assert dataclasses.replace(made, size=4) == Quick("a", 4) == copy.deepcopy(Quick("a", 4))
    var = Var("i")
    structural_key(var)  # which holds for this process only
    again = pickle.loads(pickle.dumps(var))
    assert again.name == "i"
    assert structural_key(again) != structural_key(var)


@pytest.mark.parametrize("kind", [Const, Var, Linear, For, Block])
def test_the_nodes_have_their_slots_and_nothing_else(kind: type) -> None:
    assert kind.__dictoffset__ == 0
