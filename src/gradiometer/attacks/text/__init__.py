"""Attacks that reconstruct text."""

from .bag_of_words import BagOfWords
from .dager import DAGER

__all__ = ["DAGER", "BagOfWords"]
