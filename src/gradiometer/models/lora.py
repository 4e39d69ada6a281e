"""Low-rank adapters: the client trains two thin matrices beside each chosen map, and nothing else."""

from __future__ import annotations

from torch import Tensor, nn

from gradiometer.core import BadConfig, clone_model

from .building import seeded


class Adapted(nn.Module):
    """`base(x) + up(down(x))`, where only `down` [rank, inputs] and `up` [outputs, rank] are trained."""

    def __init__(self, base: nn.Linear, rank: int) -> None:
        super().__init__()
        self.base = base
        self.down = nn.Linear(base.in_features, rank, bias=False)
        self.up = nn.Linear(rank, base.out_features, bias=False)
        nn.init.normal_(self.up.weight, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + self.up(self.down(x))


def lora(model: nn.Module, rank: int, *, maps: tuple[str, ...] = ("query", "value"), seed: int = 0) -> nn.Module:
    """A copy of the model whose maps of these names carry trained adapters; all its own weights are frozen.

    `up` is drawn with deviation 0.02, as after some training: at the usual start, zero, no gradient reaches `down`.

    Args:
        rank: of the adapters.
        maps: last names of the `nn.Linear` modules that are adapted.

    Raises:
        BadConfig: no module has these names, or the rank is below 1.

    References:
        Hu et al., LoRA: Low-Rank Adaptation of Large Language Models, 2022, arXiv:2106.09685.
    """
    if rank < 1:
        raise BadConfig(f"adapters have a rank of at least 1, got {rank}")
    model = clone_model(model).requires_grad_(False)
    chosen = [
        (owner, name, child)
        for owner in model.modules()
        for name, child in owner.named_children()
        if name in maps and isinstance(child, nn.Linear)
    ]
    if not chosen:
        raise BadConfig(f"the model has no linear maps named {', '.join(maps)}", fix="name maps that it has")
    with seeded(seed):
        for owner, name, child in chosen:
            setattr(owner, name, Adapted(child, rank))
    return model
