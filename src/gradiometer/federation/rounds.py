"""Rounds of federated training in one process. A state and a federation give the next state, and nothing else does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from gradiometer.core import (
    BadInput,
    Batch,
    GradiometerError,
    Memory,
    Update,
    all_finite,
    clone_model,
    derive,
    trainable,
)

from .federation import Federation
from .gathering import Masked, Mean, Plain, summed
from .local import Contribution, as_update, contribute, draw
from .measuring import Accuracy, measure
from .secure.record import Refused
from .strategy import Moments

Seen = Callable[[int | None, Update, Batch], None]
"""Told of all that the server sees: whose it is (None: the sum over all), the update, and the examples behind it."""


@dataclass(frozen=True, kw_only=True)
class Round:
    """What one round came to.

    Args:
        number: from 0.
        accuracy: of the model after it; None where it was not measured.
        uplink_bytes: sent by all members.
        seconds: wall time of the round, without measuring and without whoever looks on; `defense_seconds` of it, CPU time of all members' defenses.
        refused: members that sent nothing, and why.
        clients: in the mean; 0: the round is lost.
        aggregation_seconds: CPU time of secure aggregation, all members and the server together.
        clipped: by it, the greatest share of one message's entries.
    """

    number: int
    accuracy: Accuracy | None
    uplink_bytes: int
    seconds: float
    defense_seconds: float
    refused: dict[str, str] = field(default_factory=dict)
    clients: int = 0
    aggregation_seconds: float = 0.0
    clipped: float = 0.0


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

    A member whose training or defense fails sends nothing; the round goes on without it, and says so. Where too few are
    left for secure aggregation, the round is lost: the weights stay.

    Args:
        measured: whether the accuracy is measured afterwards.

    Raises:
        BadInput: nobody sent anything, or the new weights are not finite: training diverged.
    """
    number, started = len(state.rounds), time.perf_counter()
    recipe = federation.strategy.recipe(federation.client.recipe)
    # Members work on a copy: models that remember their last input must not hand it to the observer.
    client = replace(federation.client, model=clone_model(state.model), recipe=recipe)
    gathering, refused, spent = _gathering(federation, state.model, number), {}, 0.0
    arrived: list[Contribution] = []
    gone = federation.gone(number)

    def show(whose: int | None, sent: Contribution, clients: int = 1) -> None:
        nonlocal started
        if seen is not None:
            looked = time.perf_counter()
            seen(whose, as_update(client, state.model, sent, round=number, clients=clients), sent.batch)
            started += time.perf_counter() - looked

    for i, member in enumerate(federation.members):
        if i in gone:
            refused[member.name] = "dropped out"
            continue
        batch = draw(member.train, federation.examples, seed=federation.seed, round=number, member=i)
        try:
            sent = contribute(
                client, batch, federation.defense, state.memories[i], seed=federation.seed, round=number, member=i
            )
        except Exception as error:  # models and defenses may be anybody's code: whatever happened, nothing leaves
            refused[member.name] = reason(error)
            continue
        spent += sent.defense_seconds
        gathering.add(i, sent)
        if federation.aggregation is None:
            show(i, sent)
        else:
            arrived.append(sent)
    one = Round(number=number, accuracy=None, uplink_bytes=0, seconds=0.0, defense_seconds=spent, refused=refused)
    try:
        mean = gathering.mean()
    except Refused as error:  # too few were left to open the sum: the round is lost, and the weights stay
        lost = {member.name: f"there is no sum: {reason(error)}" for member in federation.members} | refused
        model, moments, one = state.model, state.moments, replace(one, refused=lost)
    except BadInput as error:
        raise _stopped(number, f"{error.message}: {next(iter(refused.values()), 'there is none')}") from error
    else:
        values = _released(federation, mean, number)
        if arrived:
            total = {name: value * mean.clients for name, value in values.items()}
            show(None, summed(arrived, mean, total), mean.clients)
        moved, moments = federation.strategy.step(trainable(state.model), values, state.moments, number)
        model = _with(state.model, moved, mean.buffers)
        if not all(map(all_finite, moved.values())):
            raise _stopped(number, "the global weights are not finite")
        one = replace(
            one,
            clients=mean.clients,
            uplink_bytes=mean.uplink_bytes,
            aggregation_seconds=mean.seconds,
            clipped=mean.clipped,
        )
    seconds = time.perf_counter() - started
    accuracy = measure(clone_model(model), federation.test, federation.members) if measured else None
    rounds = (*state.rounds, replace(one, seconds=seconds, accuracy=accuracy))
    return replace(state, model=model, moments=moments, rounds=rounds)


def _gathering(federation: Federation, model: nn.Module, number: int) -> Plain | Masked:
    if federation.aggregation is None:
        return Plain(alike=federation.most is None, whole=model)
    return Masked(
        federation.aggregation,
        invited=len(federation.members),
        most=federation.most,
        before=dict(model.named_buffers()),
        seed=federation.seed,
        round=number,
    )


def _released(federation: Federation, mean: Mean, number: int) -> dict[str, Tensor]:
    """The mean after whatever a trusted aggregator does to the sum."""
    if not federation.defense.aggregates():
        return mean.values
    total = {name: value * mean.clients for name, value in mean.values.items()}
    total = federation.defense.on_sum(total, clients=mean.clients, rng=derive(federation.seed, "sum", number))
    return {name: value / mean.clients for name, value in total.items()}


def reason(error: Exception) -> str:
    """One line on why something was refused."""
    text = error.message if isinstance(error, GradiometerError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())[:300]


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
