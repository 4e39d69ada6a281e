"""Gradient matching: the one optimization loop, of which the papers' attacks are settings."""

from .attack import Matching
from .bayesian import TuRBO
from .descent import LBFGS, Adam, Descent
from .diffused import Diffused
from .evolution import CMA
from .features import Features
from .gauss_newton import GaussNewton
from .latent import Latent
from .low_resolution import LowResolution
from .spaces import Unknown
from .weights import LatentThenWeights, Untrained

__all__ = [
    "CMA",
    "LBFGS",
    "Adam",
    "Descent",
    "Diffused",
    "Features",
    "GaussNewton",
    "Latent",
    "LatentThenWeights",
    "LowResolution",
    "Matching",
    "TuRBO",
    "Unknown",
    "Untrained",
]
