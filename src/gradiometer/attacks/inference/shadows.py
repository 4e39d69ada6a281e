"""Shadow rounds: what clients would have sent with and without a property, simulated with other people's examples."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gradiometer.core import BadInput, Batch, Client, Defense, NotApplicable, Update, spawn

from ..message import message


@dataclass(frozen=True, kw_only=True, eq=False)
class Shadows:
    """The observed round played again, with public examples in place of the private ones.

    Clients have equally many examples, and those with the property fill one client after the other: it is a matter of
    whole sites.

    Args:
        client, clients, size: as observed; `size` examples of all clients together.
        without, marked: public examples without and with the property.
        labels: [size] of the examples, as far as the attacker knows them; None: as they come.
        defense: that the clients use, as far as the attacker knows.
    """

    client: Client
    clients: int
    size: int
    without: Batch
    marked: Batch
    labels: Tensor | None
    defense: Defense

    def played(self, share: float, rng: torch.Generator) -> dict[str, Tensor]:
        """What the observer would see of a round in which this share of all examples has the property."""
        marks = torch.arange(self.size) < round(share * self.size)
        labels = None if self.labels is None else self.labels[torch.randperm(self.size, generator=rng)]
        parts = torch.arange(self.size).tensor_split(self.clients)
        batches = (self._drawn(marks[p], None if labels is None else labels[p], rng) for p in parts)
        sent = [message(self.client, batch, self.defense, rng) for batch in batches]
        if len(sent) == 1:
            return sent[0]
        total = {name: torch.stack([one[name] for one in sent]).sum(0) for name in sent[0]}
        return self.defense.on_sum(total, clients=len(sent), rng=spawn(rng))

    def _drawn(self, marks: Tensor, labels: Tensor | None, rng: torch.Generator) -> Batch:
        """Examples with these marks and labels, drawn with replacement, for there may be few; in random order."""
        chosen = []
        for side, here in ((self.without, ~marks), (self.marked, marks)):
            wanted = [None] * int(here.sum()) if labels is None else labels[here].tolist()
            rows = [_pick(side, label, rng) for label in wanted]
            chosen += [side.take(torch.stack(rows))] if rows else []
        whole = Batch({name: torch.cat([part[name] for part in chosen]) for name in chosen[0]})
        return whole.take(torch.randperm(len(marks), generator=rng))


def _pick(side: Batch, label: int | None, rng: torch.Generator) -> Tensor:
    """One row; of any label where none is asked for, or no example has it."""
    fitting = torch.arange(side.size) if label is None else (side["y"] == label).nonzero()[:, 0]
    fitting = fitting if len(fitting) else torch.arange(side.size)
    return fitting[torch.randint(len(fitting), (), generator=rng)]


def shadows(update: Update, name: str, defense: Defense | None, labels: Tensor | None = None) -> Shadows:
    """Shadow rounds of an update, from public examples whose tensor `name` [n] is 1 where they have the property.

    Raises:
        MissingKnowledge: public examples, model, recipe or batch size are not granted.
        NotApplicable: the public examples are not marked, or all alike; or there are fewer examples than clients.
        BadInput: marks that are not 0 or 1.
    """
    public: Batch = update.need("public")
    model, recipe, size = update.need("model"), update.need("recipe"), int(update.need("batch_size"))
    clients = max(update.clients, 1)
    if name not in public:
        raise NotApplicable(
            f'the public examples do not say which of them have the property "{name}"',
            fix=f"mark them with a named tensor of 0 and 1: public.replace({name}=...)",
        )
    marks = public[name]
    if marks.ndim != 1 or not ((marks == 0) | (marks == 1)).all():
        raise BadInput(f'"{name}" holds something else than one 0 or 1 a public example')
    if marks.min() == marks.max():
        raise NotApplicable(f'all public examples agree in "{name}": they do not show what difference it makes')
    if size < clients:
        raise NotApplicable(f"a sum over {clients} clients is of {size} examples: some have none")
    return Shadows(
        client=Client(
            model=model,
            layout=update.layout,
            loss=update.need("loss"),
            recipe=replace(recipe, examples=size // clients),
        ),
        clients=clients,
        size=size,
        without=public.take((marks == 0).nonzero()[:, 0]),
        marked=public.take((marks == 1).nonzero()[:, 0]),
        labels=labels if "y" in public and labels is not None and len(labels) == size else None,
        defense=defense or Defense(),
    )
