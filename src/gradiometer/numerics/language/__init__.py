"""What an attacker knows of a language without looking at the gradient: how surprising a sentence is."""

from .kneser_ney import KneserNey, NGrams
from .prior import Language, LanguagePrior
from .tiny_llama import TinyStories

__all__ = ["KneserNey", "Language", "LanguagePrior", "NGrams", "TinyStories"]
