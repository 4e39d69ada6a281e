"""Rules of torch's layers with weights: linear, convolution, normalization; and of any other module as a whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from gradiometer.core import NotApplicable

from . import choice, unfolded, winograd
from .normalizing import Normalized, Scaled
from .rule import Local, Rule, Slot


class Weighted(Local):
    """A module without a rule of its own: its parameters enter as inputs.

    Args:
        function: of the module's input and its parameters.
    """

    def __init__(self, function: Callable[..., Tensor], parameters: list[Tensor]) -> None:
        super().__init__(function)
        self.parameters = parameters


def of(
    module: nn.Module, before: Tensor, after: Tensor, names: Mapping[int, str], *, ghosts: bool
) -> Rule | list[Rule] | None:
    """The rules that replace a layer, one behind the other; None for a module that is not known.

    Args:
        before, after: its input and output on an example batch.
        names: of the parameters that were sent, by identity.
    """
    if isinstance(module, nn.Linear):
        weight, bias = _slot(module.weight, names), _slot(module.bias, names)
        assert weight is not None
        return choice.dense(weight, bias, before.numel() // before.shape[-1], ghosts=ghosts and weight.name != "")
    if isinstance(module, nn.Conv2d) and module.padding_mode == "zeros" and before.ndim == 4:
        return _convolution(module, before, names, ghosts=ghosts)
    if isinstance(module, _BatchNorm):
        return _batch_norm(module, before, names)
    if isinstance(module, nn.LayerNorm):
        dims = len(module.normalized_shape)
        shape, lead = before.shape, before.ndim - dims
        grouped = Normalized(lambda z: z.flatten(lead), lambda z: z.reshape(shape), module.eps)
        return [grouped, *_scales(module.weight, module.bias, names, range(lead), tuple(module.normalized_shape))]
    if isinstance(module, nn.GroupNorm):
        shape, groups = before.shape, module.num_groups
        normal = Normalized(lambda z: z.reshape(len(z), groups, -1), lambda z: z.reshape(shape), module.eps)
        over = [i for i in range(before.ndim) if i != 1]
        return [normal, *_scales(module.weight, module.bias, names, over, _channels(before))]
    return None


def _slot(parameter: Tensor | None, names: Mapping[int, str]) -> Slot | None:
    """Parameters that were not sent have a slot without name, whose gradient nobody asks for."""
    return None if parameter is None else Slot(name=names.get(id(parameter), ""), value=parameter.detach())


def _channels(value: Tensor) -> tuple[int, ...]:
    return (value.shape[1], *[1] * (value.ndim - 2))


def _convolution(module: nn.Conv2d, before: Tensor, names: Mapping[int, str], *, ghosts: bool) -> Rule:
    padding = module.padding
    if isinstance(padding, str):
        reach = [d * (k - 1) for d, k in zip(module.dilation, module.kernel_size)]
        if padding == "same" and any(r % 2 for r in reach):
            raise NotApplicable("same padding of an even kernel has no rule")
        padding = (0, 0) if padding == "valid" else (reach[0] // 2, reach[1] // 2)
    geometry = unfolded.Geometry(
        shape=tuple(before.shape),  # type: ignore[arg-type]
        outputs=module.out_channels,
        kernel=module.kernel_size,  # type: ignore[arg-type]
        stride=module.stride,  # type: ignore[arg-type]
        padding=padding,  # type: ignore[arg-type]
        dilation=module.dilation,  # type: ignore[arg-type]
        groups=module.groups,
    )
    weight, bias = _slot(module.weight, names), _slot(module.bias, names)
    assert weight is not None
    # The rule's rates are those of 32-bit floats on a CPU; units for matrices, elsewhere, are what torch's kernels are made for.
    measured = before.device.type == "cpu" and before.dtype.itemsize > 2
    way = choice.convolution(geometry, ghosts=ghosts and weight.name != "") if measured else "direct"
    shape = module.weight.shape
    if way.startswith("winograd"):
        weight.own = winograd.slot_layout
        weight.natural = winograd.slot_natural
    else:
        weight.own = unfolded.slot_layout
        weight.natural = lambda v: v.view(shape[0], *shape[2:], shape[1]).permute(0, 3, 1, 2)
    weight.value = weight.own(weight.value).contiguous()
    return choice.made(way, weight, bias, geometry)


def _batch_norm(module: _BatchNorm, before: Tensor, names: Mapping[int, str]) -> Rule | list[Rule]:
    over = [i for i in range(before.ndim) if i != 1]
    shape = _channels(before)
    if module.training or module.running_mean is None or module.running_var is None:
        turned = before.transpose(0, 1).shape
        normal = Normalized(
            lambda z: z.transpose(0, 1).flatten(1), lambda z: z.reshape(turned).transpose(0, 1), module.eps
        )
        return [normal, *_scales(module.weight, module.bias, names, over, shape)]
    mean, inverse = module.running_mean.clone(), (module.running_var + module.eps).rsqrt()
    weight, bias = _slot(module.weight, names), _slot(module.bias, names)
    return Scaled(weight, bias, mean.view(shape), inverse.view(shape), over, shape)


def _scales(
    weight: Tensor | None, bias: Tensor | None, names: Mapping[int, str], over: Iterable[int], shape: tuple[int, ...]
) -> list[Rule]:
    """The trained scales behind a normalization, if it has them."""
    if weight is None and bias is None:
        return []
    return [Scaled(_slot(weight, names), _slot(bias, names), None, None, list(over), shape)]
