"""What the `[train]` table of a plan spells: members, strategy and defense as one federation."""

from __future__ import annotations

from dataclasses import replace

import torch

from gradiometer.core import BadConfig, Batch, Data, trainable
from gradiometer.federation import (
    AGGREGATIONS,
    STRATEGIES,
    Federation,
    Member,
    Strategy,
    deal,
    hold_out,
)
from gradiometer.federation.averaging import Averaging

from .plan import Plan
from .setup import Setup
from .spelling import call
from .targets import Victim


def federation(setup: Setup, defense: str) -> Federation:
    """The federation that a plan's `[train]` table spells, behind one of the plan's defenses.

    Raises:
        BadConfig: settings that do not fit each other or the clients.
    """
    settings, plan = setup.plan.train, setup.plan
    victims = _chosen(setup)
    first = victims[0]
    assert first.data is not None
    test = first.data.test
    if settings.split == "natural":
        members, test = _natural(victims, settings.holdout, plan.seed)
    else:
        alpha = settings.alpha if settings.split == "dirichlet" else None
        members = deal(first.data.private, settings.clients, alpha=alpha, holdout=settings.holdout, seed=plan.seed)
    guard = setup.defenses[defense]
    given = {} if guard is None else {"defense": guard}
    return Federation(
        client=first.client,
        members=members,
        strategy=strategy(setup.plan, first.client.recipe.sends),
        examples=settings.examples,
        test=test,
        seed=plan.seed,
        aggregation=aggregation(plan),
        dropout=settings.dropout,
        **given,
    )


def strategy(plan: Plan, sends: str) -> Strategy:
    """The plan's strategy; without one, the plainest that takes what clients send."""
    spec = plan.train.strategy or {"name": "FedSGD" if sends == "gradient" else "FedAvg"}
    return STRATEGIES[spec["name"]](**{key: value for key, value in spec.items() if key != "name"})


def aggregation(plan: Plan) -> Averaging | None:
    """What the plan shows the server instead of every message; None: nothing."""
    spec = plan.train.aggregation
    if spec is None:
        return None
    thing, _ = AGGREGATIONS[spec["name"]]
    made: Averaging | None = call(thing, {key: value for key, value in spec.items() if key != "name"}, [], ("train",))
    return made


def data_behind(setup: Setup, batch: Batch) -> Data:
    """The examples of one update, with what is public beside them."""
    data = _chosen(setup)[0].data
    assert data is not None
    return replace(data, private=batch)


def _chosen(setup: Setup) -> list[Victim]:
    settings, victims = setup.plan.train, list(setup.victims.values())
    where = "[train]"
    if settings.client is not None:
        victims = [victim for victim in victims if victim.name == settings.client]
        if not victims:
            raise BadConfig(f"there is no client {settings.client!r}", where=where, fix=f"name {_names(setup)}")
    elif settings.split != "natural" and len(victims) > 1:
        raise BadConfig(
            f"split = {settings.split!r} deals the examples of one client, and the plan has {len(victims)}",
            where=where,
            fix=f'say whose: client = one of {_names(setup)}; or let each be a member: split = "natural"',
        )
    if any(victim.data is None for victim in victims):
        raise BadConfig("a captured update has no examples to train on", where=where, fix="leave it out of this plan")
    shapes = {victim.name: _shapes(victim) for victim in victims}
    other = [name for name, shape in shapes.items() if shape != shapes[victims[0].name]]
    if other:
        raise BadConfig(
            f"{other[0]} has another model than {victims[0].name}", where=where, fix="let all members train one model"
        )
    return victims


def _natural(victims: list[Victim], share: float, seed: int) -> tuple[tuple[Member, ...], Batch | None]:
    """Every client a member, tested on its own test examples where it has any; all of them together are the common test."""
    members = []
    for victim in victims:
        assert victim.data is not None
        if victim.data.test is None:
            members.append(hold_out(victim.name, victim.data.private, share, seed))
        else:
            members.append(Member(name=victim.name, train=victim.data.private, test=victim.data.test))
    tests = [member.test for member in members if member.test is not None]
    common = {name: torch.cat([test[name] for test in tests]) for name in ("x", "y")} if tests else None
    return tuple(members), None if common is None else Batch(common)


def _shapes(victim: Victim) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in trainable(victim.client.model).items()}


def _names(setup: Setup) -> str:
    return ", ".join(f'"{name}"' for name in setup.victims)
