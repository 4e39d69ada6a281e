"""Small seeded reference victims: `fn(shape, classes, *, seed=0, ...) -> nn.Module`. `MODELS` is the catalogue."""

from .age import trained
from .catalogue import MODELS
from .convnet import convnet64
from .lenet import lenet
from .mlp import mlp
from .resnet import resnet18, resnet20
from .vit import vit

__all__ = ["MODELS", "convnet64", "lenet", "mlp", "resnet18", "resnet20", "trained", "vit"]
