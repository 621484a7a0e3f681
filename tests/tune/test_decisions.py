from __future__ import annotations

import numpy as np

from flashsched.tune.search.decisions import ABSENT, DecisionTable, distinct


def table():
    made = DecisionTable()
    made.note({"a": 4, "b": 2})
    made.note({"a": 4, "c": 9})
    return made


def test_rows_and_back():
    made = table()
    several = [{"a": 3, "b": 1}, {"a": 0, "c": 8, "unknown": 1}]
    rows = made.rows(several)
    assert rows.tolist() == [[3, 1, ABSENT], [0, ABSENT, 8]]
    assert [made.decisions(row) for row in rows] == [{"a": 3, "b": 1}, {"a": 0, "c": 8}]
    assert made.scaled(rows).tolist() == [[1.0, 1.0, -1.0], [0.0, -1.0, 1.0]]


def test_a_knob_has_the_most_options_that_were_seen():
    made = table()
    made.note({"a": 2, "b": 7})
    assert made.scaled(made.rows([{"a": 3, "b": 3}])).tolist() == [[1.0, 0.5, -1.0]]


def test_draws_are_near_the_good_within_the_options_and_keep_which_knobs_are_asked():
    made, rng = table(), np.random.default_rng(0)
    good = made.rows([{"a": 1, "c": 4}, {"a": 2, "c": 5}])
    drawn = made.draw(rng, good, good, 999)
    assert len(drawn) == 999
    assert (drawn[:, 1] == ABSENT).all()
    assert set(drawn[:, 0]) <= {0, 1, 2, 3}
    assert set(drawn[:, 2]) == set(range(9))
    near = np.abs(drawn[:, 2] - 4.5) < 2
    assert near.mean() > 0.6
    assert {tuple(row) for row in good} & {tuple(row) for row in drawn}  # what was drawn may be known: others see to it


def test_nothing_to_draw_from():
    made, rng = DecisionTable(), np.random.default_rng(0)
    assert made.draw(rng, made.rows([]), made.rows([]), 5).shape == (0, 0)
    lone = DecisionTable()
    lone.note({"a": 1})
    row = lone.rows([{"a": 0}])
    assert lone.draw(rng, row, row, 7).tolist() == [[0]] * 7


def test_distinct_rows_keep_their_order():
    rows = np.array([[3, 1], [ABSENT, 2], [3, 1], [1, 3], [ABSENT, 2]], dtype=np.int16)
    assert distinct(rows).tolist() == [[3, 1], [ABSENT, 2], [1, 3]]
    many = np.random.default_rng(0).integers(-1, 7, size=(3000, 5)).astype(np.int16)
    assert len(distinct(many)) == len({tuple(row) for row in many.tolist()})
