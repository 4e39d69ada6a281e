"""Federated training with these clients and defenses."""

from .loop import Training, federate
from .secure_aggregation import SecureAggregation
from .split import dirichlet_split

AGGREGATIONS = {"SecureAggregation": (SecureAggregation, SecureAggregation.card)}
"""How a server may be shown less than every client's message; the catalogue of this room."""

__all__ = ["AGGREGATIONS", "SecureAggregation", "Training", "dirichlet_split", "federate"]
