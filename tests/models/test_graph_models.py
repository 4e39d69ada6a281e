"""Graph victims: the order of nodes and padding tell nothing, and layers do what their papers say."""

from __future__ import annotations

import pytest
import torch

from gradiometer.core import BadConfig, Batch, graph_cross_entropy, node_cross_entropy
from gradiometer.data import grown
from gradiometer.models import gat, gcn

BATCH = grown(8, count=20).private.take([0, 1, 2])
FEATURES = BATCH["nodes"].shape[2]


def inputs(batch: Batch) -> tuple[torch.Tensor, ...]:
    return batch["nodes"], batch["adjacency"], batch["mask"]


@pytest.mark.parametrize("make", [gcn, gat])
def test_the_order_of_nodes_and_padding_change_nothing(make) -> None:
    model = make(FEATURES, 3, width=16).eval()
    nodes, adjacency, mask = inputs(BATCH)
    order = torch.tensor([3, 1, 4, 0, 2, 7, 6, 5])
    turned = model(nodes[:, order], adjacency[:, order][:, :, order], mask[:, order])
    assert torch.allclose(turned, model(nodes, adjacency, mask), atol=1e-6)
    size = int(mask[0].sum())
    alone = model(nodes[:1, :size], adjacency[:1, :size, :size], mask[:1, :size])
    assert torch.allclose(alone, model(nodes, adjacency, mask)[:1], atol=1e-6)
    each = make(FEATURES, 3, width=16, per_node=True)(nodes, adjacency, mask)
    assert each.shape == (3, 8, 3)
    assert torch.allclose(each[0, :size].mean(0), alone[0], atol=1e-6)


def test_a_convolution_averages_as_its_paper_says() -> None:
    layer = gcn(FEATURES, width=16).layers[0]
    nodes, adjacency, _ = inputs(BATCH)
    loops = adjacency[0] + torch.eye(8)
    scale = loops.sum(1).rsqrt()
    expected = scale[:, None] * loops * scale @ nodes[0] @ layer.linear.weight.T
    assert torch.allclose(layer(nodes, adjacency)[0], expected, atol=1e-6)


def test_attention_weighs_a_node_and_its_neighbors() -> None:
    layer = gat(FEATURES, width=16, heads=2).layers[0]
    nodes, adjacency, _ = inputs(BATCH)
    z = layer.linear(nodes[0])
    members = [0, *adjacency[0, 0].nonzero().flatten().tolist()]
    for head in range(2):
        part = z[:, 8 * head : 8 * head + 8]
        scores = part[0] @ layer.reading[head] + part[members] @ layer.read[head]
        weights = torch.nn.functional.leaky_relu(scores, 0.2).softmax(0)
        got = layer(nodes, adjacency)[0, 0, 8 * head : 8 * head + 8]
        assert torch.allclose(got, weights @ part[members], atol=1e-6)


@pytest.mark.parametrize("make", [gcn, gat])
def test_losses_count_graphs_or_nodes(make) -> None:
    assert graph_cross_entropy(make(FEATURES, width=16), BATCH).ndim == 0
    model = make(FEATURES, 3, width=16, per_node=True)
    labels = torch.randint(3, (3, 8), generator=torch.Generator().manual_seed(0))
    loss = node_cross_entropy(model, BATCH.replace(y=labels))
    wrong = torch.where(BATCH["mask"].bool(), labels, 2 - labels)
    assert torch.equal(loss, node_cross_entropy(model, BATCH.replace(y=wrong)))


def test_sizes_that_do_not_fit_are_named() -> None:
    with pytest.raises(BadConfig, match="3 heads"):
        gat(10, width=16, heads=3)
    with pytest.raises(BadConfig) as error:
        gcn(0, 1, width=0)
    assert len(error.value.problems) == 3
