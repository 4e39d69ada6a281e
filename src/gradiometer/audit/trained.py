"""Figures of finished trainings: from states of a federation to the record that reports read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gradiometer.core import Threat, trainable
from gradiometer.federation import Federation, Round, State
from gradiometer.numerics.intervals import wilson

from .environment import environment
from .schema_training import Alone, Trained, TrainedLeak, TrainedRound, TrainingResult
from .setup import Setup
from .verdict import estimate
from .written import label


def trained(
    federation: Federation,
    name: str,
    state: State,
    target: float | None,
    updates: list[str],
    leaks: list[Any],
    error: str,
) -> Trained:
    """What one training in this process came to."""
    rounds = [_round(one) for one in state.rounds]
    return summary(federation, name, state.first.value, rounds, target, updates, leaks, error)


def summary(
    federation: Federation,
    name: str,
    first: float | None,
    rounds: list[TrainedRound],
    target: float | None,
    updates: list[str],
    leaks: list[Any],
    error: str,
) -> Trained:
    """The figures of a training from those of its rounds."""
    measured = [one for one in rounds if one.accuracy is not None]
    tested = federation.test.size if federation.test is not None else 0
    last = measured[-1] if measured else None
    accuracy = last.accuracy if last else first
    reached = [one.number + 1 for one in measured if target and (one.accuracy or 0.0) >= target]
    return Trained(
        defense=name,
        first=first,
        accuracy=None if accuracy is None else estimate(wilson(round(accuracy * tested), tested)),
        worst=last.worst if last else None,
        worst_member=last.worst_member if last else None,
        to_target=min(reached, default=None),
        uplink_bytes=sum(one.uplink_bytes for one in rounds),
        seconds=sum(one.seconds for one in rounds),
        defense_seconds=sum(one.defense_seconds for one in rounds),
        epsilon=_epsilon(federation, rounds),
        epsilon_of="sum" if federation.defense.aggregates() else "message",
        aggregation_seconds=sum(one.aggregation_seconds for one in rounds),
        clipped=max((one.clipped for one in rounds), default=0.0),
        error=error,
        rounds=rounds,
        updates=updates,
        leaks=[TrainedLeak.model_validate(leak) for leak in leaks],
    )


def _epsilon(federation: Federation, rounds: list[TrainedRound]) -> float | None:
    """Of all rounds together, for whoever sees single messages, or the sum where the defense's proof is of that.

    Members that send nothing take their share of the noise with them, so the round with the fewest counts for all.
    """
    defense, recipe = federation.defense, federation.strategy.recipe(federation.client.recipe)
    released = [one.clients for one in rounds if one.clients]
    clients = min(released, default=len(federation.members)) if defense.aggregates() else 1
    return defense.epsilon(recipe=recipe, threat=Threat(rounds=max(1, len(released)), clients=clients))


def _round(one: Round) -> TrainedRound:
    return TrainedRound(
        number=one.number,
        accuracy=one.accuracy.value if one.accuracy else None,
        worst=one.accuracy.worst if one.accuracy else None,
        worst_member=one.accuracy.worst_member if one.accuracy else None,
        uplink_bytes=one.uplink_bytes,
        seconds=one.seconds,
        defense_seconds=one.defense_seconds,
        refused=one.refused,
        clients=one.clients,
        aggregation_seconds=one.aggregation_seconds,
        clipped=one.clipped,
    )


def assembled(
    setup: Setup, federation: Federation, runs: list[Trained], alone: Mapping[str, int], command: str
) -> TrainingResult:
    """The whole result; `federation` is any of those that were trained. Args: alone: right answers of members by themselves."""
    settings, test = setup.plan.train, federation.test
    splits = {
        "natural": "each client with its own examples",
        "dirichlet": f"Dirichlet({settings.alpha:g}) over {len(federation.members)} members",
        "even": f"evenly over {len(federation.members)} members",
    }
    return TrainingResult(
        title=setup.plan.title,
        seed=setup.plan.seed,
        model=type(federation.client.model).__name__,
        parameters=sum(value.numel() for value in trainable(federation.client.model).values()),
        strategy=label(federation.strategy),
        aggregation="" if federation.aggregation is None else label(federation.aggregation),
        dropout=federation.dropout,
        split=splits[settings.split],
        members={member.name: member.train.size for member in federation.members},
        planned=settings.rounds,
        target=settings.target,
        majority=None if test is None else float(test["y"].bincount().max()) / test.size,
        alone=_best(alone, test.size) if test is not None and alone else None,
        runs=runs,
        environment=environment(),
        command=command,
    )


def _best(alone: Mapping[str, int], tested: int) -> Alone:
    member = max(alone, key=lambda name: alone[name])
    return Alone(member=member, accuracy=estimate(wilson(alone[member], tested)), of=len(alone))
