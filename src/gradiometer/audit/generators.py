"""The generators behind attacks, looked at: what they can show, and whether they saw the private examples."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from gradiometer.attacks.matching import Matching
from gradiometer.attacks.matching.prior import LEARNED, generator_for
from gradiometer.core import Attack, Batch, Data, GradiometerError, Update, derive, image_layout
from gradiometer.metrics.baselines import blind_pictures, oracle_inversion
from gradiometer.metrics.image import pixels, psnr
from gradiometer.numerics.generators import Generator, load_generator

from .targets import Victim

GENERATIVE = "generative"
"""The family of attacks that search where a generator makes its pictures."""
GAIN = 3.0
"""A generator fits the data if it shows public examples at least this many dB better than the best blind guess."""
SURPRISE = 1e-3
"""It is taken to know the private examples if it shows them better than public ones with less than this probability by chance."""
LOOKED = 40
CLASSES = 5


def generator_of(attack: Attack, update: Update) -> Generator | None:
    """The trained generator that this attack searches in, for this update; None where there is none, or it cannot be used."""
    name = named(attack)
    if name is None or "x" not in update.layout:
        return None
    like = next(iter(update.values.values())).new_zeros(1, *update.layout["x"].shape)
    try:
        return generator_for(name, update, like.cpu())
    except GradiometerError:
        return None


def samples(attack: Attack) -> Data | None:
    """Pictures that a generator from a file made, as data for the attack's positive control; None for other attacks.

    It fits no other easy data, and what it can show it must find.
    """
    name = named(attack)
    if name is None or name in LEARNED:
        return None
    generator = load_generator(name)
    made = generator(generator.draw(300, derive(0, "samples")))
    batch = Batch(x=made, y=torch.arange(300) % CLASSES)
    layout = image_layout(generator.card.shape, CLASSES)
    return Data(private=batch.take(slice(0, 100)), public=batch.take(slice(100, 300)), layout=layout)


def looked_at(generator: Generator, victim: Victim, rng: torch.Generator) -> dict[str, Any]:
    """What the generator can show to somebody who has the truth, of public and of the attacked examples.

    Returns:
        `public`, `private`: median PSNR of the oracle inversion (dB); `blind`: of the best blind guess for the same public examples;
        `surprise`: how probable so much better private ones are, were they no better known than public ones; `copies`: how many of the
        attacked examples are among those that it was trained on, by fingerprint.
    """
    data = victim.data
    assert data is not None
    attacked = data.private.take(sorted({i for batch in victim.batches for i in batch}))
    copies = int(generator.saw(pixels(attacked["x"], data.layout["x"])).sum())
    told: dict[str, Any] = {"card": _card(generator), "copies": copies, "public": None, "blind": None}
    private = _oracle(generator, attacked.take(slice(0, LOOKED)), data, rng)
    told |= {"private": float(private.median()), "surprise": None}
    if data.public is not None:
        known = data.public.take(slice(0, LOOKED))
        public = _oracle(generator, known, data, rng)
        guesses = blind_pictures(known, data, rng=rng)
        real = pixels(known["x"], data.layout["x"])
        blind = max(
            float(psnr(guesses[name], real).median()) for name in ("gray", "mean", "class_mean") if name in guesses
        )
        told |= {"public": float(public.median()), "blind": blind, "surprise": _surprise(private, public)}
    return told


def generator_problems(told: dict[str, Any]) -> Iterator[str]:
    """Why the attack that searches in this generator has no word."""
    if told["copies"]:
        yield f"{told['copies']} attacked examples are among the {told['card']} that its generator was trained on"
    elif told["surprise"] is not None and told["surprise"] < SURPRISE:
        yield (
            f"its generator shows the attacked examples better ({told['private']:.1f} dB) than public ones ({told['public']:.1f} dB): it was "
            "trained on them"
        )
    if told["public"] is not None and told["public"] < told["blind"] + GAIN:
        yield (
            f"its generator ({told['card']}) cannot show such pictures: {told['public']:.1f} dB of public ones with the truth in hand, where "
            f"blind guesses reach {told['blind']:.1f} dB; another domain's generator fails with or without a defense"
        )


def named(attack: Attack) -> str | None:
    """The trained generator that an attack searches in, as its settings call it; None for other attacks."""
    return getattr(attack.unknown, "generator", None) if isinstance(attack, Matching) else None


def _card(generator: Generator) -> str:
    card = generator.card
    return f"{card.examples or 'unknown'} pictures of {card.data or 'unnamed data'}, {card.split or 'unknown'} split"


def _oracle(generator: Generator, batch: Batch, data: Data, rng: torch.Generator) -> Tensor:
    return psnr(oracle_inversion(batch, data, generator, rng=rng), pixels(batch["x"], data.layout["x"]))


def _surprise(private: Tensor, public: Tensor) -> float:
    from scipy.stats import mannwhitneyu

    return float(mannwhitneyu(private.tolist(), public.tolist(), alternative="greater").pvalue)
