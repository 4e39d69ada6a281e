"""Attacks that reconstruct graphs."""

from .causes import Cause, Unread
from .dlg import GraphDLG
from .grain import GRAIN

__all__ = ["GRAIN", "Cause", "GraphDLG", "Unread"]
