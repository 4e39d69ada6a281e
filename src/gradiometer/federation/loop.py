"""federate: a short federated training in one process, to see what a defense costs in accuracy."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from gradiometer.core import Batch, Client, Defense

from .federation import Federation
from .members import deal
from .rounds import advance, begin
from .strategy import FedAvg, FedSGD


@dataclass(frozen=True, kw_only=True, eq=False)
class Training:
    """What a federated training came to.

    Args:
        model: the global model after the last round.
        accuracy: on the test examples, before the first round and after each.
        correct, tested: how many of how many test examples the last model gets right.
        majority: accuracy of always naming the commonest class.
        uplink_bytes: sent by all clients in all rounds.
        defense_seconds: CPU time inside the defense's hooks, a client and round.
    """

    model: nn.Module
    accuracy: tuple[float, ...]
    correct: int
    tested: int
    majority: float
    uplink_bytes: int
    defense_seconds: float


def federate(
    client: Client,
    train: Batch,
    test: Batch,
    *,
    defense: Defense | None = None,
    clients: int = 4,
    rounds: int = 20,
    lr: float = 0.1,
    alpha: float = 1.0,
    seed: int = 0,
) -> Training:
    """Trains `client.model` on examples split over clients: `w <- w - lr mean(g)` or `w <- w + mean(delta)`.

    In every round each client draws `client.recipe.examples` of its own examples and follows the recipe.

    Args:
        train, test: labeled examples with an integer `y`.
        lr: of the server, for clients that send gradients.
        alpha: of the Dirichlet split; see `dirichlet_split`.

    Raises:
        Unsupported: examples without integer labels.
        BadConfig: no split gives every client enough.
        BadInput: training diverged.
    """
    federation = Federation(
        client=client,
        members=deal(train, clients, alpha=alpha, seed=seed),
        strategy=FedSGD(lr=lr) if client.recipe.sends == "gradient" else FedAvg(),
        defense=defense or Defense(),
        examples=client.recipe.examples,
        test=test,
        seed=seed,
    )
    state = begin(federation)
    for _ in range(rounds):
        state = advance(federation, state)
    history = [state.first, *(one.accuracy for one in state.rounds if one.accuracy is not None)]
    return Training(
        model=state.model,
        accuracy=tuple(one.correct / one.tested for one in history),
        correct=history[-1].correct,
        tested=history[-1].tested,
        majority=float(test["y"].bincount().max()) / test.size,
        uplink_bytes=sum(one.uplink_bytes for one in state.rounds),
        defense_seconds=sum(one.defense_seconds for one in state.rounds) / max(1, rounds * clients),
    )
