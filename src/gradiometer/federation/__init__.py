"""Federated training with these clients and defenses."""

from .loop import Training, federate
from .split import dirichlet_split

__all__ = ["Training", "dirichlet_split", "federate"]
