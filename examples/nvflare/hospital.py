"""What every site has: the model, its own data, its defenses, and the attacks that it tries on itself."""

import torch
from torch import nn

from gradiometer import Client, Data, Recipe, data
from gradiometer.attacks.inference import RowSum
from gradiometer.core import derive
from gradiometer.defenses import Clip, GaussianNoise, Quantize, chain
from gradiometer.federation import deal

torch.set_num_threads(1)
SITES = ("site-1", "site-2")


class Net(nn.Module):
    """A small CNN with normalization: its running statistics travel with the weights."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2))
        self.head = nn.Linear(8 * 4 * 4, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.inner(x).flatten(1))


with torch.random.fork_rng(devices=[]):
    torch.manual_seed(0)
    net = Net()
digits = data.digits()
members = deal(digits.private, len(SITES), alpha=1.0, seed=0)
recipe = Recipe(sends="delta", mode="train", examples=64, batch_size=16, lr=0.1)
client = Client(model=net, layout=digits.layout, recipe=recipe)

noisy = chain(Clip(bound=1.0), GaussianNoise(std=0.01))
coarse = Quantize(bits=8)
attacks = [RowSum()]


def batch(site: str, number: int):
    """What a site trains on in a round."""
    own = members[SITES.index(site)].train
    return own.take(torch.randperm(own.size, generator=derive(0, number, site, "draw"))[: recipe.examples])


def behind(site: str, number: int) -> Data:
    """The same, for the site's attacks on itself."""
    return Data(private=batch(site, number), public=digits.public, layout=digits.layout)
