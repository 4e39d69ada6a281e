"""The engine of gradient matching: the objective and its derivative by the unknown, for any client and any distance."""

from .engine import Engine
from .point import Point
from .precision import Precision
from .slope import Slope
from .smoothness import smoothness

__all__ = ["Engine", "Point", "Precision", "Slope", "smoothness"]
