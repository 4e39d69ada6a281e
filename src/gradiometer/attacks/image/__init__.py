"""Attacks that reconstruct pictures."""

from .april import APRIL
from .auto_matching import AutoMatching
from .dlg import DLG
from .fedavg_matching import FedAvgMatching
from .gia import GIAEstimate, GIARunning
from .huang import Huang
from .idlg import IDLG
from .inverting_gradients import InvertingGradients
from .linear_bias import LinearBias
from .modern import Modern
from .recursive import Recursive
from .see_through import SeeThrough
from .spear import SPEAR

__all__ = [
    "APRIL",
    "DLG",
    "IDLG",
    "SPEAR",
    "AutoMatching",
    "FedAvgMatching",
    "GIAEstimate",
    "GIARunning",
    "Huang",
    "InvertingGradients",
    "LinearBias",
    "Modern",
    "Recursive",
    "SeeThrough",
]
