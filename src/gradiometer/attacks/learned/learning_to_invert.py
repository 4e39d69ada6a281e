"""LearningToInvert: a perceptron from what was sent to the pictures, trained on public examples behind the same defense."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gradiometer.core import Attack, BadConfig, Card, Defense, Guess, Update, Values, derive, global_seed
from gradiometer.numerics.assignment import assign
from gradiometer.numerics.sketch import CountSketch, unit_tensors

from .lessons import Lessons, lessons
from .memo import remembered

FALL = 0.75
"""Share of the epochs after which the learning rate is a tenth."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Inverse:
    """A trained perceptron, and how its inputs are standardized.

    Args:
        error: mean squared error on held-out public examples, pixels in units of their range.
    """

    network: nn.Module
    sketch: CountSketch
    mean: Tensor
    scale: Tensor
    error: float

    @property
    def nbytes(self) -> int:
        """Of its weights."""
        return sum(parameter.nbytes for parameter in self.network.parameters())

    def shares(self, sent: Values) -> Tensor:
        """Pixels of all pictures [batch size * pixels], as shares of the legal range."""
        inputs = (self.sketch(unit_tensors(sent)).float() - self.mean) / self.scale
        with torch.no_grad():
            found: Tensor = self.network(inputs[None])[0].sigmoid()
        return found


@dataclass(frozen=True, kw_only=True)
class LearningToInvert(Attack):
    """Trains a perceptron of two hidden layers on simulated rounds, and shows it the observed update.

    The loss of a batch is that of the best order of its pictures, min over permutations of the mean squared error.
    Updates longer than `length` are hashed into so many buckets. The epoch that is kept is the one with the least error on
    public examples that were not trained on. The informed attacker's rounds are defended; the network serves all
    updates of the same model, and is trained once.

    Args:
        examples: public examples to learn from, at most (of larger batches: rounds, drawn anew); one in five is held out.
        length: of the network's input.
        hidden: width of both hidden layers; the paper has 3000, and 10,000 for batches of four.
        epochs, rate, batch: of Adam; the paper has 200, 1e-4 and 256. The rate falls to a tenth after three quarters.
        seed: of the attacker's own simulation and training; the guess depends on nothing else that is random.
        defense: what the simulated clients use; `None`: nothing.

    Returns (in `Guess`):
        x: [batch size, *shape]; notes: `held_out` PSNR in dB on public examples.
    """

    card: ClassVar[Card] = Card(
        summary="Trains a network to turn defended updates of public examples into their pictures.",
        title="Learning to Invert: Simple Adaptive Attacks for Gradient Inversion in Federated Learning",
        authors="Wu, Chen, Guo, Weinberger",
        year=2023,
        arxiv="2210.10880",
        modality="image",
        family="learned",
        formula="min over networks h of sum over public batches of min_perm |h(sent) - x_perm|^2",
        needs=("model", "loss", "recipe", "batch_size", "public"),
        departs="tensors are brought to one length and entries standardized; narrower and shorter training by default; "
        "the best epoch on held-out public examples is kept",
    )
    examples: int = 4000
    length: int = 4096
    hidden: int = 512
    epochs: int = 40
    rate: float = 1e-3
    batch: int = 64
    seed: int = 0
    defense: Defense | None = None

    def __post_init__(self) -> None:
        least = {"examples": 10, "length": 1, "hidden": 1, "epochs": 1, "batch": 1}
        problems = [
            f"{name} must be at least {low}, got {getattr(self, name)}"
            for name, low in least.items()
            if getattr(self, name) < low
        ]
        problems += [] if self.rate > 0 else [f"rate must be positive, got {self.rate}"]
        if problems:
            raise BadConfig("LearningToInvert cannot be set up", problems=problems)

    def run(self, update: Update, rng: torch.Generator) -> Guess:
        school = lessons(update, self.defense, self.examples, self.seed, "LearningToInvert")
        known = remembered(school.print(self), lambda: self._trained(school))
        field, values = update.layout["x"], update.values
        pixels = field.low + (field.high - field.low) * known.shares(values).reshape(-1, *field.shape)
        dtype = next(iter(values.values())).dtype
        notes = {"held_out": -10 * math.log10(max(known.error, 1e-30)), "examples": len(school.rows)}
        return Guess(tensors={"x": field.normalize(pixels.to(dtype))}, notes=notes)

    def simulating(self, defense: Defense) -> Attack:
        return replace(self, defense=defense)

    def _trained(self, school: Lessons) -> Inverse:
        field = school.field
        played = [(unit_tensors(sent), pictures) for sent, pictures in school.played()]
        sketch = CountSketch.draw(len(played[0][0]), self.length, derive(self.seed, "sketch"))
        inputs = torch.stack([sketch(sent).float() for sent, _ in played])
        truth = torch.stack([pictures.flatten(1) for _, pictures in played]).float()
        truth = (truth - field.low) / (field.high - field.low)
        fitted = slice(0, school.fitted)
        mean = inputs[fitted].mean(0)
        spread = inputs[fitted].std(0, correction=0)
        scale = spread.clamp_min(1e-3 * float(spread.max().clamp_min(1e-30)))
        best, error = self._descended((inputs - mean) / scale, truth, school.fitted)
        return Inverse(network=best, sketch=sketch, mean=mean, scale=scale, error=error)

    def _descended(self, inputs: Tensor, truth: Tensor, fitted: int) -> tuple[nn.Module, float]:
        """The network at its best epoch, and its error on the held-out rows."""
        rng = derive(self.seed, "training")
        with global_seed(rng):
            network = _perceptron(inputs.shape[1], self.hidden, truth[0].numel())
        optimizer = torch.optim.Adam(network.parameters(), lr=self.rate)
        least, kept = float("inf"), network.state_dict()
        for epoch in range(self.epochs):
            for group in optimizer.param_groups:
                group["lr"] = self.rate * (0.1 if epoch >= FALL * self.epochs else 1.0)
            for rows in torch.randperm(fitted, generator=rng).split(self.batch):
                optimizer.zero_grad(set_to_none=True)
                with torch.enable_grad():
                    _error(network(inputs[rows]), truth[rows]).backward()
                optimizer.step()
            with torch.no_grad():
                now = float(_error(network(inputs[fitted:]), truth[fitted:]))
            if now < least:
                least, kept = now, {name: value.clone() for name, value in network.state_dict().items()}
        network.load_state_dict(kept)
        return network.requires_grad_(False), least


def _perceptron(inputs: int, hidden: int, outputs: int) -> nn.Module:
    """Its outputs are logits of pixels; at first they are gray."""
    last = nn.Linear(hidden, outputs)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), last)


def _error(logits: Tensor, truth: Tensor) -> Tensor:
    """Mean squared error of pictures [rows, batch size, pixels] in their best order."""
    found = logits.sigmoid().reshape(truth.shape)
    if truth.shape[1] > 1:
        costs = (found.detach()[:, :, None] - truth[:, None]).square().mean(3)
        order = torch.tensor([[truth_of for _, truth_of in assign(cost)] for cost in costs])
        truth = truth.gather(1, order[:, :, None].expand_as(truth))
    return F.mse_loss(found, truth)
