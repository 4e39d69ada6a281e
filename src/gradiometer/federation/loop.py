"""Federated training in one process: FedSGD and FedAvg with any defense; the same seed gives the same weights."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from gradiometer.core import Batch, Client, Defense, Memory, Sent, Unsupported, clone_model, derive, in_mode, spawn

from .split import dirichlet_split


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
    """
    for part in (train, test):
        if "y" not in part or part["y"].is_floating_point():
            raise Unsupported("federated training measures accuracy, which needs integer labels `y`")
    defense = defense or Defense()
    split = dirichlet_split(train["y"], clients, alpha=alpha, rng=derive(seed, "split"))
    memories: list[Memory] = [{} for _ in range(clients)]
    model = defense.on_model(clone_model(client.model))
    history, sent_bytes, spent = [_correct(model, test)], 0, 0.0
    for number in range(rounds):
        sent = []
        for i, own in enumerate(split):
            rng = derive(seed, "round", number, i)
            pick = own[torch.randperm(len(own), generator=rng)[: client.recipe.examples]]
            recipe = replace(client.recipe, examples=len(pick))
            one = replace(client, model=model, recipe=recipe)
            outcome, seconds = _defended(one, train.take(pick), defense, memories[i], rng)
            sent.append(outcome)
            sent_bytes, spent = sent_bytes + defense.wire_bytes(outcome.values), spent + seconds
        rate, rng = 1.0 if client.recipe.sends == "delta" else -lr, derive(seed, "aggregate", number)
        model = _aggregate(model, sent, defense, rate=rate, rng=rng)
        history.append(_correct(model, test))
    return Training(
        model=model,
        accuracy=tuple(right / test.size for right in history),
        correct=history[-1],
        tested=test.size,
        majority=float(test["y"].bincount().max()) / test.size,
        uplink_bytes=sent_bytes,
        defense_seconds=spent / max(1, rounds * clients),
    )


def _defended(
    client: Client, batch: Batch, defense: Defense, memory: Memory, rng: torch.Generator
) -> tuple[Sent, float]:
    started = time.process_time()
    batch = defense.on_batch(batch, rng=spawn(rng))
    spent = time.process_time() - started
    trained = client.train(batch, rng=spawn(rng), step=partial(defense.on_step, memory=memory))
    started = time.process_time()
    values = defense.on_gradients(trained.values, rng=spawn(rng), memory=memory)
    values = defense.on_wire(values, rng=spawn(rng), memory=memory)
    return Sent(values=values, buffers=trained.buffers), spent + time.process_time() - started


def _aggregate(
    model: nn.Module, sent: Sequence[Sent], defense: Defense, *, rate: float, rng: torch.Generator
) -> nn.Module:
    """A new model moved by the mean of what the clients sent; their normalization buffers are averaged."""
    model = clone_model(model)
    total = {name: torch.stack([one.values[name] for one in sent]).sum(0) for name in sent[0].values}
    total = defense.on_sum(total, clients=len(sent), rng=rng)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in total:
                parameter.add_(rate * (total[name] / len(sent)))
        for name, buffer in model.named_buffers():
            values = torch.stack([one.buffers[name] for one in sent])
            buffer.copy_(values.mean(0) if buffer.is_floating_point() else values[0])
    return model


def _correct(model: nn.Module, test: Batch, chunk: int = 256) -> int:
    with torch.no_grad(), in_mode(model, "eval"):
        guesses: list[Tensor] = [model(part).argmax(1) for part in test["x"].split(chunk)]
    return int((torch.cat(guesses) == test["y"]).sum())
