"""Denoised: any attack on pictures, followed by a network that has learned how its guesses differ from the truth."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from gradiometer.core import (
    Attack,
    BadConfig,
    Card,
    Channel,
    Defense,
    Guess,
    NotApplicable,
    Update,
    derive,
    global_seed,
)
from gradiometer.numerics.assignment import assign
from gradiometer.numerics.ridge import decibels
from gradiometer.numerics.unet import UNet

from ..image.linear_bias import LinearBias
from .lessons import Lessons, lessons
from .memo import remembered

LOOKS = 20
"""How often training is interrupted to look at the held-out examples."""
CLEAN_DB = 80.0
"""Held-out guesses of this PSNR have nothing left to learn."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Denoiser:
    """A trained network; None where nothing made held-out guesses better.

    Args:
        before, after: mean PSNR of held-out guesses in dB, as they were and denoised.
    """

    network: nn.Module | None
    before: float
    after: float

    @property
    def nbytes(self) -> int:
        """Of its weights."""
        return 0 if self.network is None else sum(parameter.nbytes for parameter in self.network.parameters())

    def __call__(self, pixels: Tensor) -> Tensor:
        """Better pictures, as shares of the legal range."""
        if self.network is None:
            return pixels
        with torch.no_grad():
            found: Tensor = self.network(pixels).clamp(0, 1)
        return found


@dataclass(frozen=True, kw_only=True)
class Denoised(Attack):
    """Runs an attack, and puts what it shows through a U-Net trained on pairs of its guesses and the truth.

    The pairs come from rounds that the attacker plays with public examples, behind the defense if it knows it. The network
    that is kept is the one with the highest PSNR on examples that were not trained on; the identity competes. It serves all
    updates of the same model, and is trained once. The attack itself is run on every one of the public rounds, so that
    this suits quick ones.

    Args:
        attack: whose guesses are improved.
        examples: rounds to learn from, at most; one in five is held out.
        steps, rate, batch: of Adam, with a cosine schedule.
        seed: of the simulation and the training.
        defense: what the simulated clients use; `None`: nothing.

    Returns (in `Guess`):
        What the attack returned, with other pictures; notes: mean PSNR in dB on held-out public
        examples, `before` and, denoised, `held_out`.
    """

    card: ClassVar[Card] = Card(
        summary="Improves another attack's pictures by a network that learned how its guesses differ from the truth.",
        title="GUIDE: Enhancing Gradient Inversion Attacks in Federated Learning with Denoising Models",
        authors="Carletti, Foggia, Mazzocca, Parrella, Vento",
        year=2025,
        arxiv="2510.17621",
        modality="image",
        family="learned",
        formula="x = u(attack(sent)), u = min sum over public rounds |u(attack(sent)) - x|^2",
        needs=("model", "loss", "recipe", "batch_size", "public"),
        departs="a small U-Net trained on this very attack's guesses, in place of a diffusion model",
    )
    attack: Attack = LinearBias()
    examples: int = 400
    steps: int = 300
    rate: float = 2e-3
    batch: int = 16
    seed: int = 0
    defense: Defense | None = None

    def __post_init__(self) -> None:
        least = {"examples": 10, "steps": 1, "batch": 1}
        problems = [
            f"{k} must be at least {v}, got {getattr(self, k)}" for k, v in least.items() if getattr(self, k) < v
        ]
        problems += [] if self.rate > 0 else [f"rate must be positive, got {self.rate}"]
        if problems:
            raise BadConfig(f"{type(self).__name__} cannot be set up", problems=problems)

    def run(self, update: Update, rng: torch.Generator) -> Guess:
        school = lessons(update, self.defense, self.examples, self.seed, type(self).__name__)
        guess = self.attack.run(update, rng)
        if "x" not in guess:
            raise NotApplicable(f"{type(self.attack).__name__} shows no pictures that could be denoised")
        known = remembered(school.print((self, update.labels is None)), lambda: self._trained(school, update))
        better = _shown(known(_shares(guess["x"], school)), school).to(guess["x"].dtype)
        notes = {**guess.notes, "before": known.before, "held_out": known.after}
        return replace(guess, tensors={**guess.tensors, "x": better}, notes=notes)

    def probe(self, update: Update, rng: torch.Generator, starts: int = 4) -> list[float] | None:
        return self.attack.probe(update, rng, starts)

    def observing(self, channel: Channel) -> Attack | None:
        told = self.attack.observing(channel)
        return None if told is None else replace(self, attack=told)

    def simulating(self, defense: Defense) -> Attack:
        return replace(self, attack=defense.informed(self.attack) or self.attack, defense=defense)

    def _trained(self, school: Lessons, update: Update) -> Denoiser:
        seen, true, rounds = [], [], []
        for i, (sent, pictures) in enumerate(school.played()):
            labels = None if update.labels is None else school.public["y"][school.rows[i]]
            one = update.replace(values=sent, labels=labels, buffers=None)
            guess = _shares(self.attack.run(one, derive(self.seed, "attack", i))["x"], school)
            truth = _shares(school.field.normalize(pictures), school)
            for mine, of in assign((guess[:, None] - truth[None]).square().flatten(2).mean(2)):
                seen.append(guess[mine])
                true.append(truth[of])
                rounds.append(i < school.fitted)
        fitted = torch.tensor(rounds)
        return self._descended(torch.stack(seen), torch.stack(true), fitted)

    def _descended(self, seen: Tensor, true: Tensor, fitted: Tensor) -> Denoiser:
        rng = derive(self.seed, "training")
        with global_seed(rng):
            network = UNet(seen.shape[1])
        optimizer = torch.optim.Adam(network.parameters(), lr=self.rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.steps)
        own, held = fitted.nonzero()[:, 0], ~fitted
        before = decibels((seen[held] - true[held]).flatten(1))
        best, kept = before, None
        for step in range(1, self.steps + 1) if before < CLEAN_DB else ():
            rows = own[torch.randint(len(own), (self.batch,), generator=rng)]
            optimizer.zero_grad(set_to_none=True)
            with torch.enable_grad():
                (network(seen[rows]) - true[rows]).square().mean().backward()
            optimizer.step()
            schedule.step()
            if step % max(1, self.steps // LOOKS) == 0:
                with torch.no_grad():
                    now = decibels((network(seen[held]).clamp(0, 1) - true[held]).flatten(1))
                if now > best:
                    best, kept = now, {name: value.clone() for name, value in network.state_dict().items()}
        if kept is None:
            return Denoiser(network=None, before=before, after=before)
        network.load_state_dict(kept)
        return Denoiser(network=network.requires_grad_(False), before=before, after=best)


def _shares(x: Tensor, school: Lessons) -> Tensor:
    """Pictures as the model takes them to shares of the legal range, in [0, 1]."""
    field = school.field
    return ((field.denormalize(x.float()) - field.low) / (field.high - field.low)).clamp(0, 1)


def _shown(shares: Tensor, school: Lessons) -> Tensor:
    """The way back."""
    field = school.field
    return field.normalize(field.low + (field.high - field.low) * shares)
