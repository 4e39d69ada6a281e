"""Priors: known values by hand, and refusals that name the missing layer."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from gradiometer.core import Batch, Client, Data, NotApplicable, Recipe, Threat, Update, derive, play
from gradiometer.numerics.median import median_filter
from gradiometer.numerics.priors import (
    BatchStatistics,
    GroupConsistency,
    HeadFeatures,
    Norm,
    total_variation,
)
from gradiometer.numerics.terms import Iterate, watching


def test_total_variation_by_hand() -> None:
    x = torch.tensor([[0.0, 3.0], [4.0, 4.0]])[None, None]
    # differences to the right: 3 and 0, downwards: 4 and 1
    assert float(total_variation(x)) == pytest.approx((3 + 4 + 0 + 1) / 4)
    assert float(total_variation(x, inner=2.0, outer=0.5)) == pytest.approx((5 + 1) / 4, abs=1e-4)
    assert float(total_variation(torch.full((2, 3, 5, 5), 0.7))) == 0


def test_double_opponents_see_colored_edges() -> None:
    gray = torch.zeros(1, 3, 4, 4)
    gray[..., 2:] = 1  # all three channels step together: differences of channels stay flat
    colored = gray.clone()
    colored[:, 0] = 1 - colored[:, 0]
    plain = [float(total_variation(x)) for x in (gray, colored)]
    opponents = [float(total_variation(x, double_opponents=True)) for x in (gray, colored)]
    assert plain[0] == plain[1]
    assert opponents[0] == pytest.approx(plain[0] / 2)
    assert opponents[1] > opponents[0]


def test_the_root_has_a_finite_derivative_on_flat_pictures() -> None:
    x = torch.zeros(1, 1, 4, 4, requires_grad=True)
    total_variation(x, inner=2.0, outer=0.5).backward()
    assert torch.isfinite(x.grad).all()


def test_norm_and_group() -> None:
    update = Update(values={}, layout={})
    x = torch.tensor([[[[1.0, 3.0]]]])
    assert float(Norm(weight=2.0).term(update).penalty(Iterate(x=x))) == pytest.approx(5)
    group = GroupConsistency(weight=2.0).term(update).penalty
    assert float(group(Iterate(x=x))) == 0
    assert float(group(Iterate(x=x, consensus=x + 2))) == pytest.approx(8)


def test_median_filter_is_that_of_scipy() -> None:
    from scipy.ndimage import median_filter as reference

    x = torch.rand(2, 3, 7, 6, generator=torch.Generator().manual_seed(0))
    assert torch.equal(median_filter(x), torch.tensor(reference(x.numpy(), size=(1, 1, 3, 3), mode="nearest")))


@pytest.fixture
def normalized(digits_data: Data) -> Client:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))
    return Client(model=model, layout=digits_data.layout, recipe=Recipe(mode="train", shares_buffers=True))


def seen_by_all(client: Client, data: Data, n: int = 4) -> tuple[Batch, Update]:
    batch = data.private.take(slice(0, n))
    return batch, play(client, batch, rng=derive(0), threat=Threat(labels=True), public=data.public)


def test_exact_statistics_vanish_at_the_truth_and_nowhere_else(normalized: Client, digits_data: Data) -> None:
    batch, update = seen_by_all(normalized, digits_data)
    term = BatchStatistics(weight=1.0, source="exact").term(update)
    assert term.watches == ("1",)

    def at(x: torch.Tensor) -> float:
        with watching(normalized.model, frozenset(term.watches)) as inputs, torch.no_grad():
            normalized.model[0:2](x)
        return float(term.penalty(Iterate(x=x, inputs=inputs)))

    assert at(batch["x"]) < 1e-5
    assert at(batch["x"] + 0.1) > 1e-2
    assert at(digits_data.private["x"][4:8]) > 1e-2


def test_proxy_and_running_take_what_the_threat_grants(normalized: Client, digits_data: Data) -> None:
    _, update = seen_by_all(normalized, digits_data)
    inputs = {"1": [torch.zeros(4, 4, 6, 6)]}
    running = (
        BatchStatistics(weight=1.0, source="running").term(update).penalty(Iterate(x=torch.zeros(1), inputs=inputs))
    )
    assert float(running) == pytest.approx(2.0), "running variance 1 in each of 4 channels, against 0"
    proxy = BatchStatistics(weight=1.0, source="proxy", proxies=3).term(update)
    assert float(proxy.penalty(Iterate(x=torch.zeros(1), inputs=inputs))) > 0
    with pytest.raises(NotApplicable, match="as many as the client"):
        BatchStatistics(source="proxy").term(update.replace(public=digits_data.public.take([0])))


def test_statistics_refuse_what_they_cannot_use(normalized: Client, digits_data: Data, tiny_client: Client) -> None:
    _, plain = seen_by_all(tiny_client, digits_data, 1)
    for source in ("exact", "running", "proxy"):
        with pytest.raises(NotApplicable, match="normalization layers"):
            BatchStatistics(source=source).term(plain)
    evaluated = replace(normalized, recipe=Recipe(mode="eval", shares_buffers=True))
    with pytest.raises(NotApplicable, match="eval mode"):
        BatchStatistics(source="exact").term(seen_by_all(evaluated, digits_data)[1])


def test_head_features_are_exact_for_one_example(normalized: Client, digits_data: Data) -> None:
    client = replace(normalized, recipe=Recipe())
    batch, update = seen_by_all(client, digits_data, 1)
    term = HeadFeatures(weight=1.0).term(update)
    with torch.no_grad():
        features = normalized.model.eval()[:4](batch["x"])
    assert term.watches == ("4",)
    assert float(term.penalty(Iterate(x=batch["x"], inputs={"4": [features]}))) < 1e-9
    assert float(term.penalty(Iterate(x=batch["x"], inputs={"4": [features + 1]}))) == pytest.approx(1, rel=1e-3)
