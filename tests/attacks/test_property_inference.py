"""Property inference: the AUC that the paper's setting reaches, through sums, behind noise, and what it refuses."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from gradiometer.attacks.inference import PropertyInference
from gradiometer.attacks.inference.shadows import shadows
from gradiometer.core import (
    BadConfig,
    BadInput,
    Batch,
    Client,
    Data,
    Defense,
    NotApplicable,
    Recipe,
    Update,
    derive,
    play,
    play_sum,
)
from gradiometer.data import two_scanners
from gradiometer.data.scanners import MARK
from gradiometer.defenses import ClientDP, Clip, GaussianNoise, chain
from gradiometer.models import mlp
from gradiometer.numerics.ranking import auc_interval

SIZE = 12


def drawn(data: Data, mark: str, there: bool, turn: int) -> Batch:
    """Held-out examples of any class, all with the property or none."""
    rows = (data.test[mark] == int(there)).nonzero()[:, 0]
    return data.test.take(rows[torch.randint(len(rows), (SIZE,), generator=derive(5, turn, there))])


def sent(
    data: Data, mark: str, there: bool, turn: int, recipe: Recipe, defense: Defense | None, clients: int
) -> Update:
    """A round of which one client has the property, or none."""
    client = Client(model=mlp((1, 8, 8), 10, widths=(64,)), layout=data.layout, recipe=recipe)
    batches = [drawn(data, mark, there and i == 0, 100 * turn + i) for i in range(clients)]
    rng = derive(6, turn, there)
    if clients == 1:
        return play(client, batches[0], rng=rng, defense=defense, public=data.public)
    return play_sum(client, batches, rng=rng, defense=defense, public=data.public)


def told(
    data: Data, attack: PropertyInference, recipe: Recipe, defense: Defense | None = None, clients: int = 1
) -> float:
    """AUC over 40 rounds."""
    truths = [turn % 2 == 1 for turn in range(40)]
    seen = [sent(data, attack.mark, there, i, recipe, defense, clients) for i, there in enumerate(truths)]
    known = attack.train(seen[0], derive(0))
    return auc_interval([float(attack.read(update, known)["score"]) for update in seen], truths)


FEDSGD = Recipe(examples=SIZE)
FEDAVG = Recipe(sends="delta", examples=SIZE, epochs=2, batch_size=4, lr=0.1, shuffle=True)


@pytest.mark.parametrize("recipe", [FEDSGD, FEDAVG], ids=["FedSGD", "FedAvg"])
def test_tells_thick_digits_from_thin_ones(digits_data: Data, recipe: Recipe) -> None:
    assert told(digits_data, PropertyInference(mark="thick", rounds=120, trees=50), recipe).value >= 0.8


@pytest.mark.slow
def test_a_site_effect_shows_in_a_sum_over_three_clients(digits_data: Data) -> None:
    data = two_scanners(digits_data, contrast=0.6, brightness=0.1)
    attack = PropertyInference(mark=MARK, shares=(0.0, 1 / 3), rounds=120, trees=50)
    assert told(data, attack, FEDSGD, clients=3).value >= 0.8


def test_clipping_hides_nothing_and_noise_on_the_sum_does(digits_data: Data) -> None:
    """`v / ||v||` is that of the clipped update to rounding; noise of the clipped length is far above any difference."""
    attack, clip = PropertyInference(mark="thick", rounds=120, trees=50), Clip(bound=0.1)
    bare = told(digits_data, attack, FEDSGD)
    assert abs(told(digits_data, attack, FEDSGD, clip).value - bare.value) < 0.02
    private = ClientDP(bound=0.1, noise_multiplier=1.0, where="local")
    informed = private.informed(attack)
    assert isinstance(informed, PropertyInference)
    assert bare.lower > 0.6
    assert told(digits_data, informed, FEDSGD, private).lower < 0.5


def test_the_informed_attacker_plays_behind_the_defense(digits_data: Data) -> None:
    defense = chain(Clip(bound=1.0), GaussianNoise(std=0.5))
    update = sent(digits_data, "thick", True, 0, FEDSGD, defense, 1)
    informed = defense.informed(PropertyInference(mark="thick"))
    assert informed == PropertyInference(mark="thick", defense=defense)
    noisy, bare = (shadows(update, "thick", guard).played(1.0, derive(0)) for guard in (defense, None))
    apart = torch.cat([(noisy[name] - bare[name]).flatten() for name in bare])
    assert 0.45 < float(apart.std()) < 0.55


def test_shadow_rounds_are_those_of_the_update(digits_data: Data) -> None:
    """With the private examples for public ones and no choice among them, the shadow is the update."""
    data = replace(digits_data, public=Batch({k: v[:2] for k, v in digits_data.test.items()}))
    marked = replace(data, public=data.public.replace(thick=torch.tensor([0, 1])))
    client = Client(model=mlp((1, 8, 8), 10, widths=(64,)), layout=data.layout, recipe=Recipe(examples=4))
    batch = marked.public.take([1, 1, 1, 0])
    update = play(client, batch, rng=derive(0), public=marked.public)
    shadow = shadows(update, "thick", None).played(0.75, derive(1))
    assert all(torch.allclose(shadow[name], value, atol=1e-6) for name, value in update.values.items())
    total = play_sum(client, [batch, batch], rng=derive(0), public=marked.public)
    assert shadows(total, "thick", None).client.recipe.examples == 4


def test_what_it_refuses(digits_data: Data) -> None:
    update = sent(digits_data, "thick", True, 0, FEDSGD, None, 1)
    attack, public = PropertyInference(mark="thick", rounds=20), digits_data.public
    with pytest.raises(NotApplicable, match='"tilted"'):
        replace(attack, mark="tilted").run(update, derive(0))
    with pytest.raises(NotApplicable, match="agree"):
        attack.run(update.replace(public=public.replace(thick=torch.zeros(800))), derive(0))
    with pytest.raises(BadInput, match="0 or 1"):
        attack.run(update.replace(public=public.replace(thick=torch.full((800,), 0.5))), derive(0))
    with pytest.raises(NotApplicable, match="equally many"):
        replace(attack, shares=(0.0, 0.01)).run(update, derive(0))
    with pytest.raises(NotApplicable, match="some have none"):
        attack.run(update.replace(clients=50), derive(0))
    with pytest.raises(BadConfig) as caught:
        PropertyInference(shares=(0.5, 0.5), rounds=3)
    assert len(caught.value.problems) == 2
