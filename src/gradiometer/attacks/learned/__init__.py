"""Attacks that learn to invert, from rounds that they simulate with public examples."""

from .denoised import Denoised
from .learning_to_invert import LearningToInvert
from .ridge_inversion import RidgeInversion

__all__ = ["Denoised", "LearningToInvert", "RidgeInversion"]
