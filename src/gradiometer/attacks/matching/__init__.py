"""Gradient matching: the one optimization loop, of which the papers' attacks are settings."""

from .attack import Matching
from .descent import LBFGS, Adam, Descent
from .gauss_newton import GaussNewton

__all__ = ["LBFGS", "Adam", "Descent", "GaussNewton", "Matching"]
