"""The models by name, with their cards."""

from collections.abc import Callable

from torch import nn

from gradiometer.core import Card

from .bottleneck import resnet50, resnet50_card
from .convnet import convnet64, convnet64_card
from .densenet import densenet, densenet_card
from .graph import gat, gat_card, gcn, gcn_card
from .lenet import lenet, lenet_card
from .mlp import mlp, mlp_card
from .mobilenet import mobilenet, mobilenet_card
from .resnet import resnet18, resnet18_card, resnet20, resnet20_card
from .text import bert, bert_card, gpt, gpt2, gpt2_card, gpt_card
from .vgg import vgg11, vgg11_card, vgg16, vgg16_card
from .vit import vit, vit_card
from .wide_resnet import wide_resnet, wide_resnet_card

MODELS: dict[str, tuple[Callable[..., nn.Module], Card]] = {
    "mlp": (mlp, mlp_card),
    "lenet": (lenet, lenet_card),
    "convnet64": (convnet64, convnet64_card),
    "resnet18": (resnet18, resnet18_card),
    "resnet20": (resnet20, resnet20_card),
    "resnet50": (resnet50, resnet50_card),
    "wide_resnet": (wide_resnet, wide_resnet_card),
    "densenet": (densenet, densenet_card),
    "mobilenet": (mobilenet, mobilenet_card),
    "vgg11": (vgg11, vgg11_card),
    "vgg16": (vgg16, vgg16_card),
    "vit": (vit, vit_card),
    "gpt": (gpt, gpt_card),
    "gpt2": (gpt2, gpt2_card),
    "bert": (bert, bert_card),
    "gcn": (gcn, gcn_card),
    "gat": (gat, gat_card),
}
