"""Gradient matching: the one optimization loop, of which the papers' attacks are settings."""

from .attack import Matching
from .descent import LBFGS, Adam, Descent

__all__ = ["LBFGS", "Adam", "Descent", "Matching"]
