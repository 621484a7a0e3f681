from __future__ import annotations

import logging
import math
import random

import optuna
import pytest

from flashsched.errors import TuneError
from flashsched.tune.search import proposer as search_module
from flashsched.tune.search.knobs import RandomKnobs, every
from flashsched.tune.search.proposer import SAMPLERS, Proposal, Proposer, SpaceExhausted


def template(knobs):
    """The best is (32, 8, 7, 5). Inner tiles depend on outer ones, and depth exists only with a cache."""
    outer = knobs.choice("outer", [1, 2, 4, 8, 16, 32, 64, 128])
    inner = knobs.choice("inner", [size for size in (1, 2, 4, 8, 16, 32, 64) if size <= outer])
    knobs.require(outer * inner <= 512, f"outer * inner is {outer * inner}, and 512 is the most")
    unroll = knobs.choice("unroll", list(range(12)))
    depth = knobs.choice("depth", list(range(8))) if knobs.choice("cache", [False, True]) else 0
    return outer, inner, unroll, depth


def cost(value):
    outer, inner, unroll, depth = value
    off = abs(math.log2(outer) - 5) + abs(math.log2(inner) - 3) + 0.3 * abs(unroll - 7) + 0.5 * abs(depth - 5)
    return 1e-3 * (1 + off)


def search(proposer, trials=60):
    proposals = []
    for _ in range(trials):
        proposals.append(proposer.ask(template))
        proposer.tell(proposals[-1], cost(proposals[-1].value))
    return proposals


def best_of(proposals):
    return min(cost(proposal.value) for proposal in proposals)


def test_a_proposal_is_told_once_and_never_made_again():
    proposals = search(Proposer(0), 120)
    assert len({tuple(sorted(proposal.decisions.items())) for proposal in proposals}) == 120
    for proposal in proposals:
        assert list(proposal.decisions) == list(proposal.sizes)
        assert proposal.value[0] * proposal.value[1] <= 512


def test_the_same_seed_proposes_the_same_and_another_does_not():
    one, two, other = ([proposal.decisions for proposal in search(Proposer(seed), 40)] for seed in (7, 7, 8))
    assert one == two != other


def test_it_learns():
    learned = [best_of(search(Proposer(seed))) for seed in range(3)]
    drawn = [best_of(search(Proposer(seed, "random"))) for seed in range(3)]
    assert sum(learned) < sum(drawn)
    assert max(learned) <= 3e-3


@pytest.mark.parametrize("sampler", ["cmaes", "evolutionary", "gp"])
def test_every_sampler_learns_is_fair_to_its_seed_and_repeats_nothing(sampler):
    learned = [best_of(search(Proposer(seed, sampler), 40)) for seed in range(3)]
    drawn = [best_of(search(Proposer(seed, "random"), 40)) for seed in range(3)]
    assert sum(learned) <= sum(drawn)
    one, two, other = ([p.decisions for p in search(Proposer(seed, sampler), 16)] for seed in (7, 7, 8))
    assert one == two != other
    assert len({tuple(sorted(decisions.items())) for decisions in one}) == 16


def test_tpe_goes_on_with_the_best_and_the_latest(monkeypatch):
    """What it forgets must not cost it the search: as good as before, and no repeat."""
    monkeypatch.setattr(search_module, "_FORGETS_AT", 40)
    monkeypatch.setattr(search_module, "_REMEMBERED", 24)
    proposer = Proposer(0)
    early = [proposer.ask(template) for _ in range(5)]
    proposals = search(proposer, 150)
    for proposal in early:  # drawn from a study that is forgotten by now
        proposer.tell(proposal, cost(proposal.value))
    assert len(proposer._sampler._study.get_trials(deepcopy=False)) <= 45
    assert best_of(proposals) <= 2e-3
    assert len({tuple(sorted(p.decisions.items())) for p in (*early, *proposals)}) == 155


def test_cmaes_says_what_it_needs(monkeypatch):
    monkeypatch.setattr(search_module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(TuneError, match=r"needs the package cmaes(.|\n)*flashsched\[search\]"):
        Proposer(0, "cmaes")


def test_failures_teach_too():
    """Where half the space fails, later proposals avoid that half."""
    proposer = Proposer(0)
    late = 0
    for n in range(60):
        proposal = proposer.ask(template)
        fails = proposal.value[2] < 6
        proposer.tell(proposal, None if fails else cost(proposal.value))
        late += fails and n >= 30
    assert late < 8


def test_a_search_goes_on_from_a_log():
    before = search(Proposer(0), 60)
    for sizes in (True, False):
        proposer = Proposer(1)
        for proposal in before:
            proposer.add_known(proposal.decisions, cost(proposal.value), proposal.sizes if sizes else None)
        after = search(proposer, 15)
        assert not {tuple(p.decisions.items()) for p in before} & {tuple(p.decisions.items()) for p in after}
        fresh = search(Proposer(1), 15)
        assert sum(cost(p.value) for p in after) < 0.6 * sum(cost(p.value) for p in fresh)


def test_known_decisions_that_no_longer_fit_are_left_out():
    proposer = Proposer(0)
    proposer.add_known({"outer": 99}, 1e-9)
    proposer.add_known({"another": 1}, None)
    proposer.add_known({"outer": 7, "inner": 6, "unroll": 0, "cache": 0}, 1e-9)
    assert best_of(search(proposer, 30)) < 4e-3


def test_candidates_made_elsewhere_may_be_told():
    proposer, rng, told = Proposer(0), random.Random(0), set()
    while len(told) < 30:
        knobs = RandomKnobs(rng)
        try:
            value = template(knobs)
        except TuneError:
            continue
        proposer.tell(Proposal(knobs.decisions, knobs.sizes, value), cost(value))
        told.add(tuple(sorted(knobs.decisions.items())))
    after = {tuple(sorted(proposal.decisions.items())) for proposal in search(proposer, 20)}
    assert not told & after


def test_many_may_be_asked_before_any_is_told():
    proposer = Proposer(0)
    search(proposer, 15)
    batch = [proposer.ask(template) for _ in range(16)]
    assert len({tuple(proposal.decisions.items()) for proposal in batch}) == 16
    for proposal in reversed(batch):
        proposer.tell(proposal, cost(proposal.value))


@pytest.mark.parametrize("sampler", list(SAMPLERS))
def test_a_small_space_is_searched_completely_and_its_end_is_told(sampler):
    def small(knobs):
        a, b = knobs.choice("a", [1, 2, 3, 4]), knobs.choice("b", [1, 2, 3, 4])
        knobs.require(a >= b, f"a is {a}, below b, which is {b}")
        return a, b

    proposer = Proposer(0, sampler)
    found = [proposer.ask(small) for _ in range(3)]
    for proposal in found:
        proposer.tell(proposal, 1.0)
    found += [proposer.ask(small) for _ in range(7)]
    says = r"no new candidate is left after 10; \d+ draws were infeasible, last: a is"
    with pytest.raises(SpaceExhausted, match=says):
        proposer.ask(small)
    assert sorted(proposal.value for proposal in found) == sorted(value for _, value in every(small))


def test_a_space_of_one_and_a_space_of_none():
    proposer = Proposer(0)
    assert proposer.ask(lambda knobs: "alone").value == "alone"
    with pytest.raises(SpaceExhausted, match=r"no new candidate is left after 1\n"):
        proposer.ask(lambda knobs: "alone")
    with pytest.raises(SpaceExhausted, match="infeasible, last: never"):
        Proposer(0).ask(lambda knobs: knobs.require(knobs.choice("a", [0, 0]), "never"))


def test_a_needle_is_found_among_the_infeasible():
    def needle(knobs):
        picked = tuple(knobs.choice(f"k{n}", list(range(6))) for n in range(4))
        knobs.require(picked == (5, 5, 5, 4), "no")
        return picked

    assert Proposer(0).ask(needle).value == (5, 5, 5, 4)


def test_an_unknown_sampler_is_refused():
    with pytest.raises(TuneError, match=r"(?s)unknown sampler 'tpee'.*hint: did you mean tpe\?"):
        Proposer(0, "tpee")


def test_a_bug_in_a_template_is_not_swallowed():
    with pytest.raises(ZeroDivisionError):
        Proposer(0).ask(lambda knobs: 1 / 0)


def test_optuna_is_quiet_here_and_as_it_was_elsewhere(caplog):
    optuna.logging.set_verbosity(optuna.logging.INFO)
    optuna.logging.enable_propagation()
    try:
        with caplog.at_level(logging.INFO, logger="optuna"):
            search(Proposer(0), 15)
        assert not caplog.records
        assert optuna.logging.get_verbosity() == optuna.logging.INFO
    finally:
        optuna.logging.disable_propagation()
