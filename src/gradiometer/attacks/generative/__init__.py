"""Attacks that search where a generator makes its pictures. Each is a setting of `Matching`; read them over the prior-only control."""

from .ci_net import CINet
from .ggl import GGL
from .gias import GIAS
from .gifd import GIFD
from .guided_diffusion import GuidedDiffusion
from .rog import ROG

__all__ = ["GGL", "GIAS", "GIFD", "ROG", "CINet", "GuidedDiffusion"]
