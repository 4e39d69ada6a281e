"""BatchNormToGroupNorm: a model without batch statistics."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from gradiometer.core import BadConfig, Card, Defense, NotApplicable


@dataclass(frozen=True, kw_only=True)
class BatchNormToGroupNorm(Defense):
    """Every batch normalization becomes a group normalization with the same scale and shift.

    The batch's mean and variance then neither enter the gradient nor leave with the buffers. There is no more to know
    than the model itself, which the server has: the naive attack is the informed one.

    Args:
        groups: at most so many groups a layer; the greatest number that divides the channels and leaves each group
            two channels or more (one channel without space around it would be normalized to zero).

    References:
        Wu, He, "Group Normalization", 2018, arXiv:1803.08494.
    """

    card: ClassVar[Card] = Card(
        summary="Replaces batch normalization by group normalization, so that no batch statistics exist to leak.",
        title="Group Normalization",
        authors="Wu, He",
        year=2018,
        arxiv="1803.08494",
        modality="image",
        family="model",
        formula="(x - mean_group) / std_group",
        strength="fixed",
    )
    groups: int = 32

    def __post_init__(self) -> None:
        if self.groups < 1:
            raise BadConfig(f"BatchNormToGroupNorm needs at least one group, got {self.groups}")

    def on_model(self, model: nn.Module) -> nn.Module:
        """A converted copy.

        Raises:
            NotApplicable: no batch normalization in the model, or one that has not seen its channels yet.
        """
        norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
        if not norms:
            raise NotApplicable(
                "BatchNormToGroupNorm found no batch normalization in the model", fix="leave this defense out"
            )
        if not all(norm.num_features for norm in norms):
            raise NotApplicable(
                "a lazy batch normalization has no channels before its first input", fix="run the model once first"
            )
        return _converted(copy.deepcopy(model), self.groups)


def _converted(module: nn.Module, groups: int) -> nn.Module:
    if isinstance(module, _BatchNorm):
        return _group_norm(module, groups)
    for name, child in module.named_children():
        setattr(module, name, _converted(child, groups))
    return module


def _group_norm(norm: _BatchNorm, most: int) -> nn.GroupNorm:
    channels = norm.num_features
    groups = max(n for n in range(1, min(most, max(1, channels // 2)) + 1) if channels % n == 0)
    new = nn.GroupNorm(groups, channels, eps=norm.eps, affine=norm.affine)
    if norm.affine:
        new = new.to(norm.weight)
        with torch.no_grad():
            new.weight.copy_(norm.weight)
            new.bias.copy_(norm.bias)
        new.weight.requires_grad, new.bias.requires_grad = norm.weight.requires_grad, norm.bias.requires_grad
    return new.train(norm.training)
