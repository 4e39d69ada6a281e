"""Starts in processes of their own: the guess is the one of one process, bit for bit, whatever the starts share."""

from __future__ import annotations

import multiprocessing
import os
import signal
from dataclasses import dataclass, replace

import pytest
import torch

from gradiometer.attacks import Matching
from gradiometer.attacks.image import InvertingGradients, SeeThrough
from gradiometer.attacks.matching import LBFGS, GaussNewton
from gradiometer.audit import build, spell
from gradiometer.audit.written import label
from gradiometer.core import BadConfig, Client, Data, Guess, NotApplicable, Threat, Update, derive, play
from gradiometer.numerics.distances import SquaredL2
from gradiometer.numerics.priors import GroupConsistency
from gradiometer.numerics.terms import Iterate, Term

pytestmark = pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="processes are forked")
SMOOTH = Matching(distance=SquaredL2(), priors=(), optimizer=LBFGS(), start="randn", boxed=False, iterations=40)
CASES = {
    "signed": InvertingGradients(iterations=30, restarts=3),
    "newton": replace(SMOOTH, optimizer=GaussNewton(), start="gray", restarts=2, iterations=120),
    "quasi newton": replace(SMOOTH, restarts=3),
    "in step": replace(SeeThrough(iterations=25, restarts=3), priors=(GroupConsistency(),)),
    "of unlike length": InvertingGradients(iterations=40, restarts=4, patience=3, start="randn", median_every=7),
    "unlike and in step": SeeThrough(iterations=40, restarts=4, patience=2, priors=(GroupConsistency(weight=1.0),)),
}


@pytest.fixture
def update(tiny_client: Client, digits_data: Data) -> Update:
    return play(tiny_client, digits_data.private.take([0]), rng=derive(0), threat=Threat(labels=True))


def told(guess: Guess) -> tuple[object, ...]:
    return guess["x"].flatten().tolist(), guess.objective, guess.curve, guess.notes


@pytest.mark.parametrize("name", CASES)
def test_the_guess_is_that_of_one_process(name: str, update: Update) -> None:
    one = CASES[name].run(update, derive(1))
    two = replace(CASES[name], jobs=2).run(update, derive(1))
    assert told(one) == told(two)
    assert len(set(one.notes["objectives"])) == CASES[name].restarts


def test_more_processes_than_starts_and_random_state_untouched(update: Update) -> None:
    before = torch.get_rng_state()
    attack = replace(CASES["signed"], restarts=2)
    assert told(attack.run(update, derive(1))) == told(replace(attack, jobs=5).run(update, derive(1)))
    assert torch.equal(before, torch.get_rng_state())
    assert multiprocessing.active_children() == []


@dataclass(frozen=True, kw_only=True)
class Ends:
    """A prior that ends its process, or refuses there."""

    parent: int
    kill: bool

    def term(self, update: Update) -> Term:
        def penalty(at: Iterate) -> torch.Tensor:
            if os.getpid() != self.parent:
                if self.kill:
                    os.kill(os.getpid(), signal.SIGKILL)
                raise NotApplicable("not here", fix="elsewhere")
            return at.x.sum() * 0

        return Term(penalty=penalty)


@pytest.mark.parametrize(
    ("kill", "kind", "text"), [(True, BadConfig, "ended from outside"), (False, NotApplicable, "not here")]
)
def test_a_process_that_ends_is_told_and_leaves_nobody(
    kill: bool, kind: type[Exception], text: str, update: Update
) -> None:
    priors = (Ends(parent=os.getpid(), kill=kill), GroupConsistency())
    with pytest.raises(kind, match=text) as caught:
        replace(CASES["signed"], priors=priors, jobs=2).run(update, derive(1))
    assert caught.value.fix
    assert multiprocessing.active_children() == []


def test_processes_make_no_other_attack(update: Update) -> None:
    two = replace(CASES["signed"], jobs=2)
    assert two == CASES["signed"]
    assert "jobs" not in spell(two)
    assert label(two) == label(CASES["signed"])
    with pytest.raises(BadConfig) as caught:
        build("InvertingGradients:jobs=2", "attack")
    assert any('no setting "jobs"' in problem for problem in caught.value.problems)
    with pytest.raises(BadConfig):
        Matching(jobs=0)
