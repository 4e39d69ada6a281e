"""Attacks that reconstruct graphs."""

from .causes import Cause, Unread
from .grain import GRAIN

__all__ = ["GRAIN", "Cause", "Unread"]
