"""Attacks that learn to invert, from rounds that they simulate with public examples."""

from .learning_to_invert import LearningToInvert
from .ridge_inversion import RidgeInversion

__all__ = ["LearningToInvert", "RidgeInversion"]
