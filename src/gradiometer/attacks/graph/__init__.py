"""Attacks that reconstruct graphs."""

from .causes import Cause, Unread
from .dlg import GraphDLG
from .grain import GRAIN
from .tableak import GraphTabLeak

__all__ = ["GRAIN", "Cause", "GraphDLG", "GraphTabLeak", "Unread"]
