"""Defenses: changes that a client makes to its update on the way out. This list is the catalogue."""

from .batch_norm import BatchNormToGroupNorm
from .chain import Chain, chain
from .client_dp import ClientDP
from .clip import Clip
from .dpsgd import DPSGD
from .federated_dropout import FederatedDropout
from .gaussian_noise import GaussianNoise
from .laplace_noise import LaplaceNoise
from .prune import Prune
from .qsgd import QSGD
from .quantize import Quantize
from .selective_encryption import SelectiveEncryption
from .sign import Sign
from .ternary import Ternary
from .top_k import TopK

__all__ = [
    "DPSGD",
    "QSGD",
    "BatchNormToGroupNorm",
    "Chain",
    "ClientDP",
    "Clip",
    "FederatedDropout",
    "GaussianNoise",
    "LaplaceNoise",
    "Prune",
    "Quantize",
    "SelectiveEncryption",
    "Sign",
    "Ternary",
    "TopK",
    "chain",
]
