"""Lessons: the observed round played with public examples, from which an attacker learns what messages look like."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gradiometer.core import Batch, Client, Defense, Field, NotApplicable, Update, derive, trainable

from ..message import message

HELD_OUT = 0.2
"""Share of the public examples that choices are made on."""
PRINTED = 2
"""Messages whose content tells one kind of round from another."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Lessons:
    """Rounds like the observed one, of public examples in place of the private ones.

    Args:
        client, defense: as observed, as far as the attacker knows.
        public: other people's examples.
        rows: [rounds, batch size] of `public`; those from `fitted` on are held out, and share no example with the rest.
        seed: of whatever clients and defenses draw.
    """

    client: Client
    defense: Defense
    public: Batch
    rows: Tensor
    fitted: int
    seed: int

    def played(self) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
        """What would be sent of every round, and its pictures [batch size, *shape] with pixels in natural units."""
        for i in range(len(self.rows)):
            yield self._sent(i), self.field.denormalize(self.public["x"][self.rows[i]])

    @property
    def field(self) -> Field:
        """Of the pictures."""
        return self.client.layout["x"]

    def print(self, settings: object) -> str:
        """A hash of everything that a map learned from these rounds depends on.

        Beside weights and examples it reads some messages: they tell what no name does, such as a custom model's code.
        """
        digest = hashlib.sha256(repr((settings, self.defense, self.client.recipe, self.seed, self.fitted)).encode())
        shown = self.public.take(self.rows.unique())
        told = [self.rows, *shown.values(), *trainable(self.client.model).values()]
        for i in range(min(PRINTED, len(self.rows))):
            told += self._sent(i).values()
        for tensor in told:
            digest.update(repr(tuple(tensor.shape)).encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def _sent(self, i: int) -> dict[str, Tensor]:
        return message(self.client, self.public.take(self.rows[i]), self.defense, derive(self.seed, "lesson", i))


def lessons(update: Update, defense: Defense | None, rounds: int, seed: int, attack: str) -> Lessons:
    """Rounds to learn from about an update: every example stands in one at most for batches of one, else in any number.

    Args:
        defense: that the clients use, as far as the attacker knows.
        rounds: at most.
        attack: who asks, for errors.

    Raises:
        NotApplicable: no pictures, a sum over clients, or too few public examples.
        MissingKnowledge: public examples, model, loss, recipe or batch size are not granted.
    """
    field = update.layout.get("x")
    if field is None or field.kind != "pixels":
        raise NotApplicable(f"{attack} learns to see pictures, and the layout has no field `x` of pixels")
    if update.clients > 1:
        raise NotApplicable(f"{attack} learns from single clients' messages, and this is a sum over {update.clients}")
    public: Batch = update.need("public")
    model, loss, recipe = update.need("model"), update.need("loss"), update.need("recipe")
    size = int(update.need("batch_size"))
    order = torch.randperm(public.size, generator=derive(seed, "lessons"))
    first = round((1 - HELD_OUT) * len(order))
    if min(first, len(order) - first) < size:
        raise NotApplicable(f"{public.size} public examples are too few to make up batches of {size}")
    fitted = round((1 - HELD_OUT) * rounds)
    rows = [
        _batches(part, size, count, derive(seed, "lessons", name))
        for name, part, count in (("fitted", order[:first], fitted), ("held out", order[first:], rounds - fitted))
    ]
    return Lessons(
        client=Client(model=model, layout=update.layout, loss=loss, recipe=replace(recipe, examples=size)),
        defense=defense or Defense(),
        public=public,
        rows=torch.cat(rows),
        fitted=len(rows[0]),
        seed=seed,
    )


def _batches(rows: Tensor, size: int, count: int, rng: torch.Generator) -> Tensor:
    """At most `count` batches of these rows, [batches, size], without an example twice in one."""
    if size == 1:
        return rows[:count, None]
    return torch.stack([rows[torch.randperm(len(rows), generator=rng)[:size]] for _ in range(count)])
