"""Attacks that reconstruct text."""

from .bag_of_words import BagOfWords
from .dager import DAGER
from .film import FILM
from .lamp import LAMP
from .tag import TAG
from .text_dlg import TextDLG
from .tiger import TIGER

__all__ = ["DAGER", "FILM", "LAMP", "TAG", "TIGER", "BagOfWords", "TextDLG"]
