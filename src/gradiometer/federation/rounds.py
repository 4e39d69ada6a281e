"""Rounds of federated training in one process. A state and a federation give the next state, and nothing else does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from gradiometer.core import (
    BadConfig,
    BadInput,
    Batch,
    Client,
    Defense,
    GradiometerError,
    Memory,
    SubModel,
    Unsupported,
    Update,
    all_finite,
    clone_model,
    derive,
    trainable,
)

from .local import Contribution, as_update, contribute, draw
from .measuring import Accuracy, measure
from .members import Member
from .strategy import Moments, Strategy

Seen = Callable[[int, Update, Batch], None]
"""Told of every contribution: whose it is, what the server sees of it, and the examples behind it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Federation:
    """All that does not change from round to round.

    Args:
        client: model, loss and recipe that all members share.
        strategy: of the server; it may have its say in the recipe.
        defense: of every client.
        examples: that a member draws for a round; None: all that it has.
        test: common held-out examples.
    """

    client: Client
    members: tuple[Member, ...]
    strategy: Strategy
    defense: Defense = field(default_factory=Defense)
    examples: int | None = None
    test: Batch | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        sends, wanted = self.client.recipe.sends, self.strategy.sends
        if sends != wanted:
            raise BadConfig(
                f"{type(self.strategy).__name__} needs clients that send a {wanted}, and these send a {sends}",
                fix=f'set sends = "{wanted}" in the recipe, or choose another strategy',
            )
        for batch in (self.test, *(part for m in self.members for part in (m.train, m.test))):
            if batch is not None and ("y" not in batch or batch["y"].is_floating_point()):
                raise Unsupported("federated training measures accuracy, which needs integer labels `y`")


@dataclass(frozen=True, kw_only=True)
class Round:
    """What one round came to.

    Args:
        number: from 0.
        accuracy: of the model after it; None where it was not measured.
        uplink_bytes: sent by all members.
        seconds: wall time of the round, without measuring and without whoever looks on; `defense_seconds` of it, CPU time of all members' defenses.
        refused: members that sent nothing, and why.
    """

    number: int
    accuracy: Accuracy | None
    uplink_bytes: int
    seconds: float
    defense_seconds: float
    refused: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, eq=False)
class State:
    """Between two rounds: the global model, and what server and clients remember.

    Args:
        memories: of the members' defenses; the next round writes to them.
    """

    model: nn.Module
    first: Accuracy
    moments: Moments = field(default_factory=dict)
    memories: tuple[Memory, ...]
    rounds: tuple[Round, ...] = ()


def begin(federation: Federation) -> State:
    """Before the first round."""
    model = federation.defense.on_model(clone_model(federation.client.model))
    return State(
        model=model,
        first=measure(clone_model(model), federation.test, federation.members),
        memories=tuple({} for _ in federation.members),
    )


def advance(federation: Federation, state: State, *, measured: bool = True, seen: Seen | None = None) -> State:
    """One round: every member trains and sends, the server averages by numbers of examples and moves the weights.

    Where members train parts of the model, every coordinate is averaged over those that had it; one that nobody had stays.

    Where the defense has a part in the sum (`Defense.aggregates`), all members weigh the same.

    A member whose training or defense fails sends nothing; the round goes on without it, and says so.

    Args:
        measured: whether the accuracy is measured afterwards.

    Raises:
        BadInput: nobody sent anything, or the new weights are not finite: training diverged.
    """
    number, started = len(state.rounds), time.perf_counter()
    recipe = federation.strategy.recipe(federation.client.recipe)
    # Members work on a copy: models that remember their last input must not hand it to the observer.
    client = replace(federation.client, model=clone_model(state.model), recipe=recipe)
    total = _Sum(alike=federation.defense.aggregates(), whole=state.model)
    refused, sent_bytes, spent = {}, 0, 0.0
    for i, member in enumerate(federation.members):
        batch = draw(member.train, federation.examples, seed=federation.seed, round=number, member=i)
        try:
            sent = contribute(
                client, batch, federation.defense, state.memories[i], seed=federation.seed, round=number, member=i
            )
        except Exception as error:  # models and defenses may be anybody's code: whatever happened, nothing leaves
            refused[member.name] = reason(error)
            continue
        if seen is not None:
            looked = time.perf_counter()
            seen(i, as_update(client, state.model, sent, round=number), batch)
            started += time.perf_counter() - looked
        total.add(sent)
        sent_bytes, spent = sent_bytes + sent.wire_bytes, spent + sent.defense_seconds
    if not total.weight:
        raise _stopped(number, f"no client sent anything: {next(iter(refused.values()), 'there is none')}")
    total.values = federation.defense.on_sum(
        total.values, clients=total.clients, rng=derive(federation.seed, "sum", number)
    )
    moved, moments = federation.strategy.step(trainable(state.model), total.mean(total.values), state.moments, number)
    buffers = {
        name: value
        if (unseen := total.unseen(name)) is None
        else torch.where(unseen, state.model.get_buffer(name), value)
        for name, value in total.mean(total.buffers).items()
    }
    model = _with(state.model, moved, buffers)
    if not all(map(all_finite, moved.values())):
        raise _stopped(number, "the global weights are not finite")
    seconds = time.perf_counter() - started
    one = Round(
        number=number,
        accuracy=measure(clone_model(model), federation.test, federation.members) if measured else None,
        uplink_bytes=sent_bytes,
        seconds=seconds,
        defense_seconds=spent,
        refused=refused,
    )
    return replace(state, model=model, moments=moments, rounds=(*state.rounds, one))


def reason(error: Exception) -> str:
    """One line on why something was refused."""
    text = error.message if isinstance(error, GradiometerError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())[:300]


class _Sum:
    """A sum weighted by numbers of examples, one contribution at a time, so that no two must be held.

    Args:
        alike: every client weighs the same, as what is proven of a sum needs it.
        whole: the model of which clients may have trained parts.
    """

    def __init__(self, *, alike: bool, whole: nn.Module) -> None:
        self._alike, self._whole = alike, whole
        self._missing: dict[str, Tensor] = {}
        self.weight = self.clients = 0
        self.values: dict[str, Tensor] = {}
        self.buffers: dict[str, Tensor] = {}

    def add(self, sent: Contribution) -> None:
        count, first = 1 if self._alike else sent.batch.size, not self.weight
        self.weight, self.clients = self.weight + count, self.clients + 1
        for held, new in ((self.values, sent.values), (self.buffers, sent.buffers)):
            for name, value in self._spread(new, sent.part, count).items():
                if first:
                    held[name] = value * count if value.is_floating_point() else value.clone()
                elif value.is_floating_point():
                    held[name].add_(value, alpha=count)  # counters, which are integers, stay those of the first

    def _spread(self, new: Mapping[str, Tensor], part: SubModel | None, count: int) -> Mapping[str, Tensor]:
        """The values at their places in the whole model; keeps account of the weight that every coordinate misses."""
        if part is None:
            return new
        there = part.spread({name: torch.ones_like(value) for name, value in new.items()}, self._whole)
        for name, one in there.items():
            self._missing[name] = self._missing.get(name, 0) + count * (1 - one)
        return part.spread(new, self._whole)

    def mean(self, held: dict[str, Tensor]) -> dict[str, Tensor]:
        return {k: v / self._weights(k) if v.is_floating_point() else v for k, v in held.items()}

    def _weights(self, name: str) -> Tensor | int:
        """Of the clients that had the coordinates of a tensor; where nobody had one, its sum of zero is divided by 1."""
        return (self.weight - self._missing[name]).clamp_min(1) if name in self._missing else self.weight

    def unseen(self, name: str) -> Tensor | None:
        """Where nobody had a coordinate; None: nowhere."""
        return self._missing[name] >= self.weight if name in self._missing else None


def _with(model: nn.Module, weights: dict[str, Tensor], buffers: dict[str, Tensor]) -> nn.Module:
    model = clone_model(model)
    named: Iterable[tuple[str, Tensor]] = [*model.named_parameters(), *model.named_buffers()]
    with torch.no_grad():
        for name, tensor in named:
            new = weights.get(name, buffers.get(name))
            if new is not None:
                tensor.copy_(new)
    return model


def _stopped(number: int, why: str) -> BadInput:
    return BadInput(
        f"training stopped in round {number}: {why}",
        fix="lower the learning rate, or look at the defense and the data; finished rounds are kept",
    )
