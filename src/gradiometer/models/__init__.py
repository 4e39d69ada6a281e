"""Small seeded reference victims: `fn(shape, classes, *, seed=0, ...) -> nn.Module`. `MODELS` is the catalogue."""

from .age import trained
from .bottleneck import resnet50
from .catalogue import MODELS
from .convnet import convnet64
from .densenet import densenet
from .graph import gat, gcn
from .lenet import lenet
from .lora import lora
from .mlp import mlp
from .mobilenet import mobilenet
from .resnet import resnet18, resnet20
from .text import bert, gpt, gpt2
from .vgg import vgg11, vgg16
from .vit import vit
from .wide_resnet import wide_resnet

__all__ = [
    "MODELS",
    "bert",
    "convnet64",
    "densenet",
    "gat",
    "gcn",
    "gpt",
    "gpt2",
    "lenet",
    "lora",
    "mlp",
    "mobilenet",
    "resnet18",
    "resnet20",
    "resnet50",
    "trained",
    "vgg11",
    "vgg16",
    "vit",
    "wide_resnet",
]
