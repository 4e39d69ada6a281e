"""Max pooling on the way down: routes read off gradients, pictures by descent where they cannot be."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gradiometer.models.vgg import vgg11
from gradiometer.numerics.recursion import consistency, filling, soft_pool, windows
from gradiometer.numerics.recursion.gauss_newton import refine
from gradiometer.numerics.recursion.graph import Activation, Graph, MaxPool
from gradiometer.numerics.recursion.left import Left
from gradiometer.numerics.recursion.record import Walk
from gradiometer.numerics.recursion.tracing import trace
from gradiometer.numerics.recursion.walk import walk


def walked(model: nn.Module, x: Tensor) -> Walk:
    loss = F.cross_entropy(model.eval()(x), torch.tensor([1]))
    names, parameters = zip(*model.named_parameters())
    values = {name: g.double() for name, g in zip(names, torch.autograd.grad(loss, parameters))}
    graph = trace(model, tuple(x.shape[1:]))
    return walk(graph, values, {graph.output: values[f"{graph.nodes[graph.output].operation.where}.bias"][None]})


def picture(side: int, seed: int = 0) -> Tensor:
    coarse = torch.rand(1, 3, side // 2, side // 2, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(coarse, size=(side, side), mode="bicubic")


def shallow(inside: int, outside: int, side: int, pool: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    front = nn.Sequential(
        nn.Conv2d(3, inside, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(inside, outside, 3, padding=1),
        nn.ReLU(),
        pool,
        nn.Flatten(),
    )
    return nn.Sequential(front, nn.Linear(front(torch.zeros(1, 3, side, side)).shape[1], 10))


def truth(graph: Graph, x: Tensor, name: str) -> Tensor:
    return graph.forward(x.double(), name)


def test_pooling_is_brought_in_front_of_an_activation_that_rises() -> None:
    class Net(nn.Module):
        def __init__(self, activation: nn.Module) -> None:
            super().__init__()
            self.conv, self.activation, self.head = nn.Conv2d(2, 4, 3), activation, nn.Linear(16, 5)

        def forward(self, x: Tensor) -> Tensor:
            u = F.max_pool2d(self.activation(self.conv(x)), 3, stride=2, padding=1)
            return self.head(torch.max_pool2d(u, 2, padding=1).flatten(1))

    x = torch.rand(3, 2, 8, 8, dtype=torch.float64)
    for activation, order in ((nn.Tanh(), [MaxPool, MaxPool, Activation]), (nn.GELU(), None)):
        net = Net(activation).double()
        graph = trace(net, (2, 8, 8))
        assert torch.allclose(graph.forward(x, graph.output), net(x))
        kinds = [type(n.operation) for n in graph.nodes.values() if isinstance(n.operation, (MaxPool, Activation))]
        assert order is None or kinds == order


@pytest.mark.parametrize(("side", "pool"), [(8, nn.MaxPool2d(2)), (8, nn.MaxPool2d(3)), (9, nn.MaxPool2d(2))])
def test_routes_are_read_off_the_gradient_of_the_convolution_below(side: int, pool: nn.MaxPool2d) -> None:
    x = picture(side)
    found = walked(shallow(96, 96, side, pool), x)
    (name,) = found.routes
    node = found.graph.nodes[name]
    assert isinstance(node.operation, MaxPool)
    active = truth(found.graph, x, name) > 0
    right = found.routes[name] == node.operation.routes(truth(found.graph, x, node.inputs[0]))
    assert bool(right[active].all())


def test_a_deep_network_is_followed_through_its_poolings() -> None:
    x = picture(16)
    found = walked(vgg11((3, 16, 16), 10, width=0.5), x)
    assert found.stopped == "no convolution in front of pool1 has channels for its 64 positions"
    for name, known in found.values.items():
        wanted = truth(found.graph, x, name)
        assert float((known.value - wanted).norm() / wanted.norm()) < 1e-4


def test_narrow_layers_stop_with_the_pooling_s_name() -> None:
    found = walked(shallow(24, 32, 12, nn.MaxPool2d(2)), picture(12))
    assert found.stopped == "no convolution in front of 0.4 has channels for its 144 positions"
    assert found.frontier is not None
    assert found.graph.nodes[found.frontier].shape == (32, 6, 6)


def test_the_descent_goes_through_poolings_whose_routes_are_not_known() -> None:
    model, x = shallow(24, 32, 12, nn.MaxPool2d(2)), picture(12)
    graph = trace(model, (3, 12, 12), dtype=torch.float32)
    found = consistency.pictures(graph, walked(model, x), rng=torch.Generator().manual_seed(0), evaluations=300)
    assert found.error < 1e-5
    assert float((found.x - x).square().mean().sqrt()) < 1e-4


def test_smooth_pictures_come_back_through_a_pooling_that_keeps_too_little(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    front = (nn.Conv2d(3, 32, 7, 2, 3), nn.MaxPool2d(3, 2, 1), nn.ReLU(), nn.Conv2d(32, 64, 3, padding=1), nn.ReLU())
    coarse = 4 * torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(1)) - 2
    x = F.interpolate(coarse, size=(32, 32), mode="bicubic")
    found = walked(nn.Sequential(*front, nn.Flatten(), nn.Linear(64 * 64, 10)), x)
    node = filling.readable(found)[0]
    assert node.shape == (32, 8, 8)
    graph = trace(nn.Sequential(*front), (3, 32, 32), dtype=torch.float32)

    def error() -> float:
        rng = torch.Generator().manual_seed(0)
        filled = filling.fill(graph, found, node, lambda x: x.clamp(-3, 3), rng=rng, evaluations=200)
        return float((filled - x).norm() / x.norm())

    soft = error()
    monkeypatch.setattr(filling, "POOLED", tuple((weight, 0.0) for weight, _ in filling.POOLED))
    assert soft < 0.2
    assert soft < error()


def test_wrong_windows_near_the_picture_are_loosened() -> None:
    torch.manual_seed(0)
    stacks = [(nn.Conv2d(a, b, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)) for a, b in ((3, 32), (32, 128))]
    model = nn.Sequential(*(layer for stack in stacks for layer in stack), nn.Flatten(), nn.Linear(2048, 10))
    x = picture(16)
    known = Left.of(trace(model, (3, 16, 16), dtype=torch.float32), walked(model, x))
    near = x.clone()
    near[..., :8, :8] += 0.1 * torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(4))
    held_up, error = refine(known.maps, known.wanted, near, steps=24, iterations=800, first=50, worth=0.97)
    assert error > 1e-3
    mended, error = windows.loosened(known, held_up, error, 1e-5)
    assert error < 1e-6
    assert float((mended - x).square().mean().sqrt()) < 1e-4


def pooling() -> MaxPool:
    return MaxPool(
        apply=lambda z: F.max_pool2d(z, 3, 2, 1),
        where="pool",
        kernel=(3, 3),
        stride=(2, 2),
        padding=(1, 1),
        dilation=(1, 1),
    )


def test_entries_in_the_padding_are_below_all_others() -> None:
    pool, z = pooling(), torch.randperm(504).reshape(2, 4, 7, 9) / 504 - 2
    assert torch.equal(soft_pool.entries(pool, z).amax(2).reshape(2, 4, 4, 5), pool.apply(z))


def test_soft_windows_become_the_hard_ones() -> None:
    pool, z = pooling(), torch.randperm(504).reshape(2, 4, 7, 9) / 504 - 0.5
    soft = soft_pool.pooled(pool, z, 1e-5).reshape(2, 4, 4, 5)
    assert torch.allclose(soft, pool.apply(z), atol=1e-4)
    mean = F.avg_pool2d(z, 3, 2, 1, count_include_pad=False)
    assert torch.allclose(soft_pool.pooled(pool, z, 1e5).reshape(2, 4, 4, 5), mean, atol=1e-4)


def test_soft_routes_become_the_hard_ones() -> None:
    pool = pooling()
    z, delta = torch.randperm(504).reshape(2, 4, 7, 9) / 504, torch.rand(2, 4, 4, 5)
    soft = soft_pool.shared(pool, delta, z, torch.tensor(1e-5))
    assert torch.allclose(soft, pool.pull(delta, pool.routes(z), (4, 7, 9)), atol=1e-4)
