"""Every activation as a function of its own output: slope, inverse, and the second input where there is one."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gradiometer.numerics.recursion.activations import of_function, of_module
from gradiometer.numerics.recursion.dipped import Dipped

MONOTONE = [
    nn.ReLU(inplace=True),
    nn.LeakyReLU(0.2),
    nn.PReLU(),
    nn.Sigmoid(),
    nn.Tanh(),
    nn.ELU(0.7),
    nn.SELU(),
    nn.CELU(0.6),
    nn.Softplus(2),
    nn.Softsign(),
    nn.Hardtanh(-0.5, 1.5),
    nn.Hardsigmoid(),
]
DIPPED = [nn.GELU(), nn.GELU(approximate="tanh"), nn.SiLU(), nn.Mish()]


def points() -> torch.Tensor:
    return torch.linspace(-4, 4, 402, dtype=torch.float64)


@pytest.mark.parametrize("module", MONOTONE, ids=str)
def test_slope_and_inverse_follow_from_the_output(module: nn.Module) -> None:
    found = of_module(module.double(), "")
    assert found is not None
    z = points().requires_grad_()
    u = found.apply(z)
    (slope,) = torch.autograd.grad(u.sum(), z)
    u = u.detach()
    assert torch.allclose(found.slope(u), slope, atol=1e-9)
    usable = found.invertible(u)
    assert usable.any()
    assert torch.allclose(found.inverse(u)[usable], z.detach()[usable], atol=1e-9)


@pytest.mark.parametrize("module", DIPPED, ids=str)
def test_a_dip_has_two_inputs_and_both_are_found(module: nn.Module) -> None:
    found = of_module(module, "")
    assert found is not None
    assert found.twin is not None
    both = Dipped(found.apply)
    z = points()
    u = found.apply(z)
    right = z > both.bottom
    assert torch.allclose(both.right(u)[right], z[right], atol=1e-6)
    assert torch.allclose(both.left(u)[~right], z[~right], atol=1e-6)
    slopes = both.derivative(z)
    other, price = found.twin(u)
    assert torch.allclose(found.slope(u)[right], slopes[right], atol=1e-6)
    assert torch.allclose(other[~right], slopes[~right], atol=1e-6)
    assert torch.equal(price.isfinite(), u < 0)
    assert bool((u[found.invertible(u)] > 0).all())


def test_functions_take_their_options() -> None:
    z = points()
    for name, options in (("Softplus", {"beta": 3.0}), ("GELU", {"approximate": "tanh"}), ("ELU", {"alpha": 0.3})):
        found = of_function(name, options, "")
        assert found is not None
        assert torch.equal(found.apply(z), getattr(F, name.lower())(z, **options))
