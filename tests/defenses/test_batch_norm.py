"""BatchNormToGroupNorm: what the converted model computes, and that the given one stays."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gradiometer.core import BadConfig, NotApplicable
from gradiometer.defenses import BatchNormToGroupNorm


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(12, eps=1e-3)
        self.inner = nn.ModuleDict({"deep": nn.Sequential(nn.Conv2d(12, 6, 1), nn.BatchNorm2d(6, affine=False))})
        self.last = nn.BatchNorm1d(7)


@pytest.fixture
def block() -> Block:
    model = Block()
    with torch.no_grad():
        model.norm.weight.uniform_(0.5, 2, generator=torch.Generator().manual_seed(0))
        model.norm.bias.uniform_(-1, 1, generator=torch.Generator().manual_seed(1))
    return model


def test_equals_group_norm_with_the_same_affine(block: Block) -> None:
    new = BatchNormToGroupNorm(groups=4).on_model(block)
    x = torch.randn(3, 12, 5, 5, generator=torch.Generator().manual_seed(2))
    expected = F.group_norm(x, 4, block.norm.weight, block.norm.bias, eps=1e-3)
    assert torch.equal(new.norm(x), expected)  # type: ignore[operator]


def test_numbers_of_groups(block: Block) -> None:
    """As many as divide the channels, up to the limit, with two channels or more in each."""

    def found(groups: int) -> list[tuple[int, int]]:
        new = BatchNormToGroupNorm(groups=groups).on_model(block)
        return [(m.num_groups, m.num_channels) for m in new.modules() if isinstance(m, nn.GroupNorm)]

    assert found(32) == [(6, 12), (3, 6), (1, 7)]
    assert found(4) == [(4, 12), (3, 6), (1, 7)]
    assert found(1) == [(1, 12), (1, 6), (1, 7)]


def test_no_batch_statistics_are_left(block: Block) -> None:
    new = BatchNormToGroupNorm().on_model(block)
    assert list(new.buffers()) == []
    assert not any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in new.modules())
    assert new.inner["deep"][1].weight is None  # type: ignore[index]


def test_an_example_does_not_see_the_others(block: Block) -> None:
    new = BatchNormToGroupNorm().on_model(block).train()
    x = torch.randn(3, 12, 5, 5, generator=torch.Generator().manual_seed(3))
    assert torch.allclose(new.norm(x)[:1], new.norm(x[:1]), atol=1e-6)  # type: ignore[operator]


def test_the_given_model_stays(block: Block) -> None:
    before = {name: value.clone() for name, value in block.state_dict().items()}
    new = BatchNormToGroupNorm().on_model(block)
    with torch.no_grad():
        new.norm.weight.zero_()  # type: ignore[union-attr]
    assert isinstance(block.norm, nn.BatchNorm2d)
    assert all(torch.equal(before[name], value) for name, value in block.state_dict().items())


def test_a_frozen_layer_stays_frozen_and_modes_are_kept(block: Block) -> None:
    block.norm.weight.requires_grad = False
    new = BatchNormToGroupNorm().on_model(block.eval())
    assert not new.norm.weight.requires_grad  # type: ignore[union-attr]
    assert not new.norm.training  # type: ignore[union-attr]


def test_a_model_that_is_one_layer() -> None:
    assert isinstance(BatchNormToGroupNorm().on_model(nn.BatchNorm2d(8)), nn.GroupNorm)


def test_a_model_without_batch_norm_is_refused() -> None:
    with pytest.raises(NotApplicable, match="no batch normalization"):
        BatchNormToGroupNorm().on_model(nn.Linear(3, 2))
    with pytest.raises(NotApplicable, match="lazy"):
        BatchNormToGroupNorm().on_model(nn.Sequential(nn.LazyBatchNorm2d()))
    with pytest.raises(BadConfig):
        BatchNormToGroupNorm(groups=0)
