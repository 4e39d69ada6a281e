"""The models by name, with their cards."""

from .convnet import convnet64, convnet64_card
from .lenet import lenet, lenet_card
from .mlp import mlp, mlp_card
from .resnet import resnet18, resnet18_card, resnet20, resnet20_card
from .vit import vit, vit_card

MODELS = {
    "mlp": (mlp, mlp_card),
    "lenet": (lenet, lenet_card),
    "convnet64": (convnet64, convnet64_card),
    "resnet18": (resnet18, resnet18_card),
    "resnet20": (resnet20, resnet20_card),
    "vit": (vit, vit_card),
}
