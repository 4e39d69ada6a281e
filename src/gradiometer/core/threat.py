"""Threat: what the observer is granted. Everything not granted is absent from the `Update` that attacks see."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Threat:
    """The knowledge of the observer, switch by switch.

    Args:
        model: the parameters at the start of the round, and the loss (every server has them).
        recipe: how clients train locally: mode, steps, learning rate, optimizer.
        batch_size: how many examples stand behind the update.
        labels: the true labels. Off by default: published attacks often assume them silently.
        buffers: normalization buffers after the round, where the client shares them.
        public: other data of the same kind.
        tamper: the server may send a manipulated model.
        clients: over how many clients the update is summed.
        rounds: how many rounds of the same client are observed.
    """

    model: bool = True
    recipe: bool = True
    batch_size: bool = True
    labels: bool = False
    buffers: bool = True
    public: bool = True
    tamper: bool = False
    clients: int = 1
    rounds: int = 1

    @property
    def letter(self) -> str:
        """The published threat-model letter that fits best (Carletti et al., USENIX Security 2025), A to H."""
        if self.tamper:
            return "G" if self.public else "F"
        if self.public and self.recipe:
            return "E" if self.buffers else "D"
        if self.recipe:
            return "C"
        return "B" if self.model else "A"

    @property
    def granted(self) -> tuple[str, ...]:
        """Names of the switches that are on."""
        names = ("model", "recipe", "batch_size", "labels", "buffers", "public", "tamper")
        return tuple(name for name in names if getattr(self, name))


THREATS: dict[str, Threat] = {
    "honest_but_curious": Threat(),
    "label_informed": Threat(labels=True),
    "update_only": Threat(recipe=False, buffers=False, public=False),
    "eavesdropper": Threat(model=False, recipe=False, batch_size=False, buffers=False, public=False),
}
