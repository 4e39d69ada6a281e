"""Judging one guess: the truth is looked at here, after the attack has ended."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial

from gradiometer.core import Batch, Guess, derive
from gradiometer.metrics import score_labels, score_presence, score_words
from gradiometer.numerics.generators import Generator

from .evidence import Record
from .modality import modality
from .setup import Setup
from .targets import Victim


def judged(
    setup: Setup,
    victim: Victim,
    truth: Batch,
    guess: Guess,
    noise: Guess | None,
    number: int,
    generator: Generator | None = None,
) -> Record:
    """Scores of a guess, and of the blind guess that the same attack makes of pure noise."""
    assert victim.data is not None
    body: Record = {}
    kind = modality(victim.data.layout)
    if kind.field in guess or (noise is not None and kind.field in noise):
        # One path of randomness a batch: every attack and its control meet the same candidates.
        path = (setup.plan.seed, "score", victim.name, number)
        wanted = setup.plan.audit.candidates
        rng = derive(*path)
        blindly = kind.scorer(victim.client)
        of = blindly if generator is None else partial(blindly, generator=generator)
        scores = of(guess, truth, victim.data, rng=rng, candidates=wanted, noise_guess=noise)
        body["examples"] = [asdict(one) for one in scores]
        if noise is not None:
            blind = blindly(noise, truth, victim.data, rng=derive(*path), candidates=wanted)
            body["noise"] = [asdict(one) for one in blind]
    # Granted labels leave nothing to recover of them, but for other properties.
    labeled = "y" in truth and truth["y"].ndim == 1  # classes of nodes come back with their nodes, or not at all
    if "mark" in guess.notes or (labeled and not setup.threat.labels and ("y" in guess or "present" in guess)):
        body["labels"] = asdict(score_labels(guess, truth, victim.data))
        if noise is not None:
            body["noise_labels"] = asdict(score_labels(noise, truth, victim.data))
    if "bag" in guess:
        body["words"] = asdict(
            score_words(guess, truth, victim.data, rng=derive(setup.plan.seed, "words", victim.name, number))
        )
    if "present" in guess:
        body["presence"] = asdict(score_presence(guess, truth, victim.data))
    return body
