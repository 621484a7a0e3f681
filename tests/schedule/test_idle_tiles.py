"""A stage computed at a loop rests where its readers do: tiles beyond the edge cost nothing."""

from __future__ import annotations

from flashsched import te
from flashsched.schedule.nest import find_block


def test_a_stage_inherits_the_conditions_that_all_its_readers_have_around_it() -> None:
    a = te.placeholder((10,), name="A")
    b = te.compute((10,), lambda i: a[i] + 1, name="B")
    c = te.compute((10,), lambda i: b[i] * 2, name="C")
    s = te.create_schedule(c)
    tiles, _ = s[c].split(c.op.axis[0], factor=2)
    _, tile = s[c].split(tiles, factor=4)
    s[b].compute_at(s[c], tile)
    conditions = [str(w) for w in find_block(s.body, "B")[-1].where]
    assert "i.o.o * 4 + i.o.i < 5" in conditions
