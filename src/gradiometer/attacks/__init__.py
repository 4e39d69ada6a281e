"""Attacks: how the observer reads an update. `image` reconstructs pictures, `inference` labels and presence."""

from .matching import Matching

__all__ = ["Matching"]
