"""Victims: the clients of a plan, built, drawn from and tried once before any attack."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import nn

from gradiometer.core import (
    Attack,
    BadConfig,
    BadInput,
    Batch,
    Client,
    Data,
    Defense,
    GradiometerError,
    Layout,
    Loss,
    Memory,
    Recipe,
    Threat,
    Update,
    derive,
    load_update,
    play,
    play_sum,
    trainable,
)
from gradiometer.core.dotted import load_dotted

from .modality import modality
from .plan import Plan, threat_of
from .sections import ClientSpec
from .spelling import build_call


@dataclass(frozen=True, kw_only=True, eq=False)
class Victim:
    """A client under audit: its data, which of them are attacked, and the captured update where there is one.

    Args:
        data: None for a captured update without the truth beside it.
        batches: positions in `data.private`, one tuple a round; of a sum over clients, those of one after the other.
    """

    name: str
    client: Client
    data: Data | None
    batches: tuple[tuple[int, ...], ...]
    captured: Update | None = None

    def batch(self, number: int) -> Batch:
        """The private examples of one round."""
        assert self.data is not None
        return self.data.private.take(list(self.batches[number]))

    def play(
        self,
        number: int,
        *,
        rng: torch.Generator,
        threat: Threat,
        defense: Defense | None = None,
        attack: Attack | None = None,
        memory: Memory | None = None,
        round: int = 0,
    ) -> Update:
        """What the observer sees of one round: the update of a client, or the sum over as many as the threat says.

        The clients of a sum are alike; each trains on its part of the batch, and defends and sends its own message.
        """
        assert self.data is not None
        batch, public = self.batch(number), self.data.public
        if threat.clients == 1:
            return play(
                self.client,
                batch,
                rng=rng,
                threat=threat,
                defense=defense,
                attack=attack,
                public=public,
                memory=memory,
                round=round,
            )
        size = self.client.recipe.examples
        parts = [batch.take(slice(first, first + size)) for first in range(0, batch.size, size)]
        return play_sum(self.client, parts, rng=rng, threat=threat, defense=defense, public=public, round=round)

    @property
    def fingerprint(self) -> str:
        """A hash of weights and private examples: a run is only continued with the very same client."""
        digest = hashlib.sha256()
        tensors = [*trainable(self.client.model).values(), *(self.data.private.values() if self.data else ())]
        for tensor in tensors:
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()[:16]


def build_victim(spec: ClientSpec, plan: Plan) -> Victim:
    """The victim that a plan's `[[client]]` spells.

    Raises:
        BadConfig, BadInput: naming the client and the fault.
    """
    try:
        if spec.update is not None:
            return _captured(spec)
        client, data = from_target(spec.target) if spec.target is not None else _built_in(spec, plan)
        return make_victim(spec.name, client, data, plan, spec.examples)
    except GradiometerError as error:
        file = f" ({spec.update})" if spec.update is not None else ""
        error.where = error.where or f'client "{spec.name}"{file}'
        raise


def make_victim(name: str, client: Client, data: Data | Batch, plan: Plan, examples: int | None = None) -> Victim:
    """A victim from live objects; its private examples are drawn without replacement, by the plan's seed.

    Args:
        examples: how many are attacked; None: as many as the plan says.
    """
    data = Data(private=data, layout=client.layout) if isinstance(data, Batch) else data
    size, wanted = client.recipe.examples * threat_of(plan).clients, examples or plan.audit.examples
    count = -(-wanted // size)
    if count * size > data.private.size:
        raise BadConfig(
            f"{count} batches of {size} are asked for, and there are {data.private.size} private examples",
            fix=f"lower [audit] examples to {data.private.size // size * size}, or give more data"
            if data.private.size >= size
            else "lower the recipe's examples, or give more data",
            where=f'client "{name}"',
        )
    order = torch.randperm(data.private.size, generator=derive(plan.seed, "batches", name)).tolist()
    batches = tuple(tuple(order[i * size : (i + 1) * size]) for i in range(count))
    return Victim(name=name, client=client, data=data, batches=batches)


def dry_round(victim: Victim, threat: Threat) -> Update:
    """One honest round, so that data and model that do not fit are noticed before any attack.

    Raises:
        BadInput: with the client's name.
    """
    where = f'client "{victim.name}"'
    if victim.data is None:
        assert victim.captured is not None
        return victim.captured
    try:
        for other in (victim.data.public, victim.data.test):
            if other is not None:
                victim.client.train(other.take([0]), rng=derive(0, "dry"))
        return victim.play(0, rng=derive(0, "dry"), threat=threat)
    except GradiometerError as error:
        error.where = error.where or where
        raise
    except Exception as error:  # the user's own model and loss may raise anything
        raise BadInput(
            f"a round of local training fails: {type(error).__name__}: {error}",
            where=where,
            fix="make client.train(batch, rng=...) work on one batch of its data",
        ) from error


def from_target(path: str) -> tuple[Client, Data | Batch]:
    """What the function at `package.module:function` returns.

    Raises:
        BadConfig: it cannot be found, fails, or returns something else.
    """
    function = load_dotted(path)
    if not callable(function):
        raise BadConfig(f"{path} is a {type(function).__name__}, not a function", fix="name a function")
    try:
        made = function()
    except GradiometerError:
        raise
    except Exception as error:  # the user's own function may raise anything
        raise BadConfig(f"{path}() fails: {type(error).__name__}: {error}") from error
    if not (
        isinstance(made, tuple) and len(made) == 2 and isinstance(made[0], Client) and isinstance(made[1], Data | Batch)
    ):
        got = (
            f"a tuple of {', '.join(type(m).__name__ for m in made)}"
            if isinstance(made, tuple)
            else type(made).__name__
        )
        raise BadConfig(f"{path}() returns {got}", fix="return (Client, Data), or (Client, Batch)")
    return made


def _built_in(spec: ClientSpec, plan: Plan) -> tuple[Client, Data]:
    from gradiometer.models import trained

    data = build_call(spec.data, "data")
    if not isinstance(data, Data):
        raise BadConfig(f"data {spec.data!r} are no Data but {type(data).__name__}")
    loss = _loss(spec, data.layout)
    model = _model(spec, data.layout)
    if spec.trained_steps:
        model = trained(model, data, steps=spec.trained_steps, seed=plan.seed, loss=loss)
    return Client(model=model, layout=data.layout, loss=loss, recipe=Recipe(**spec.recipe)), data


def _captured(spec: ClientSpec) -> Victim:
    assert spec.update is not None
    bare = load_update(spec.update)
    loss = _loss(spec, bare.layout)
    update = load_update(spec.update, model=_model(spec, bare.layout), loss=loss)
    assert update.model is not None
    recipe = update.recipe or Recipe(**spec.recipe)
    client = Client(model=update.model, layout=update.layout, loss=loss, recipe=recipe)
    data = None if spec.data is None else build_call(spec.data, "data")
    if data is not None and update.batch_size not in (None, data.private.size):
        raise BadInput(
            f"the update is of {update.batch_size} examples, and the data given as its truth hold {data.private.size}",
            fix="give exactly the examples behind the update, or none",
        )
    size = data.private.size if data is not None else update.batch_size or 1
    return Victim(name=spec.name, client=client, data=data, batches=(tuple(range(size)),), captured=update)


def _model(spec: ClientSpec, layout: Layout) -> nn.Module:
    given = modality(layout).given(layout)
    model = build_call(spec.model, "model", {name: value for name, value in given.items() if value is not None})
    if not isinstance(model, nn.Module):
        raise BadConfig(f"model {spec.model!r} is no torch module but {type(model).__name__}")
    return model


def _loss(spec: ClientSpec, layout: Layout) -> Loss:
    return modality(layout).loss(layout) if spec.loss == "cross_entropy" else load_dotted(spec.loss)
