"""Attacks that reconstruct text."""

from .bag_of_words import BagOfWords
from .dager import DAGER
from .lamp import LAMP
from .tag import TAG
from .text_dlg import TextDLG

__all__ = ["DAGER", "LAMP", "TAG", "BagOfWords", "TextDLG"]
