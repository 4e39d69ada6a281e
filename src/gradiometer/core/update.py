"""Update: everything that the observer of one round sees, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from .batch import Batch, Layout
from .client import Loss, clone_model
from .errors import MissingKnowledge
from .recipe import Recipe
from .threat import Threat


@dataclass(frozen=True, kw_only=True, eq=False)
class Update:
    """One round as the observer sees it. A field that the threat does not grant is None.

    Args:
        values: what was sent, by parameter name: a mean gradient, or new weights minus old.
        sends: which of the two.
        layout: shape and legal values of one example (public: the server designed the model).
        model: the model at the start of the round, as the client used it.
        loss: the client's loss, the same object that the client trained with.
        recipe: local training; its `examples` equals `batch_size` where that is granted, and is 1 where it is not.
        batch_size: how many examples stand behind the update.
        labels: the true labels [n], only where the threat says so.
        buffers: normalization buffers after the round, where the client shares them.
        public: other data of the same kind.
        clients, round: over how many clients this is a sum; which round it was.
        wire_bytes: size of the message.
    """

    values: Mapping[str, Tensor]
    layout: Layout
    sends: Literal["gradient", "delta"] = "gradient"
    model: nn.Module | None = None
    loss: Loss | None = None
    recipe: Recipe | None = None
    batch_size: int | None = None
    labels: Tensor | None = None
    buffers: Mapping[str, Tensor] | None = None
    public: Batch | None = None
    clients: int = 1
    round: int = 0
    wire_bytes: int = 0

    def need(self, name: str) -> Any:
        """The field of this name.

        Raises:
            MissingKnowledge: the threat does not grant it.
        """
        value = getattr(self, name)
        if value is None:
            raise MissingKnowledge(
                f"the attack needs `{name}`, and the threat does not grant it",
                fix=f"grant it ([threat] {name} = true; the report will say so) or choose an attack that does without",
            )
        return value

    def knows(self, name: str) -> bool:
        """Whether the field of this name is granted."""
        return getattr(self, name) is not None

    def replace(self, **changes: Any) -> Update:
        """The same update with some fields exchanged."""
        return replace(self, **changes)

    def under(self, threat: Threat) -> Update:
        """What is left of this update for an observer with the grants of `threat`.

        A recipe without the batch size says 1 example: how many there are, and hence the number of steps, is withheld.
        """
        keep = {"model": threat.model, "loss": threat.model, "recipe": threat.recipe, "batch_size": threat.batch_size}
        keep |= {"labels": threat.labels, "buffers": threat.buffers, "public": threat.public}
        changes: dict[str, Any] = {name: None for name, granted in keep.items() if not granted}
        if threat.recipe and not threat.batch_size and self.recipe is not None:
            changes["recipe"] = replace(self.recipe, examples=1)
        return replace(self, **changes)

    def to(self, device: torch.device | str) -> Update:
        """The same update with all its tensors, and a copy of its model, on a device."""

        def moved(tensors: Any) -> Any:
            return tensors if tensors is None else {name: tensor.to(device) for name, tensor in tensors.items()}

        return replace(
            self,
            values=moved(self.values),
            model=None if self.model is None else clone_model(self.model).to(device),
            labels=None if self.labels is None else self.labels.to(device),
            buffers=moved(self.buffers),
            public=None if self.public is None else Batch(moved(self.public)),
        )

    def as_gradient(self) -> dict[str, Tensor]:
        """The mean gradient per step: itself, or for a weight delta `-delta / recipe.reach` (lr * steps of plain SGD).

        Raises:
            MissingKnowledge: a delta whose recipe is not granted, or neither the number of its steps.
        """
        if self.sends == "gradient":
            return dict(self.values)
        reach = self.reach()
        return {name: value / -reach for name, value in self.values.items()}

    def reach(self) -> float:
        """`recipe.reach` of one client: of a sum, each took the steps of its own examples.

        Raises:
            MissingKnowledge: as `as_gradient`.
        """
        recipe: Recipe = self.need("recipe")
        if recipe.batch_size is not None:
            self.need("batch_size")
        return replace(recipe, examples=-(-recipe.examples // max(1, self.clients))).reach

    def noise(self, rng: torch.Generator) -> Update:
        """The same update with its values replaced by noise of the same norm a tensor: the blind control."""

        def like(value: Tensor) -> Tensor:
            noise = torch.randn(value.shape, generator=rng, dtype=value.dtype).to(value.device)
            return noise * (value.norm() / noise.norm().clamp_min(torch.finfo(value.dtype).tiny))

        return replace(self, values={name: like(value) for name, value in self.values.items()})
