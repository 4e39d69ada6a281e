"""Federated training with these clients and defenses."""

from .checkpoint import load_checkpoint, save_checkpoint
from .federation import Federation
from .homomorphic_aggregation import HomomorphicAggregation
from .loop import Training, federate
from .measuring import Accuracy, measure
from .members import Member, deal, hold_out
from .rounds import Round, State, advance, begin
from .secure_aggregation import SecureAggregation
from .split import dirichlet_split, even_split
from .strategy import STRATEGIES, FedAdam, FedAvg, FedProx, FedSGD, Strategy

AGGREGATIONS = {
    "SecureAggregation": (SecureAggregation, SecureAggregation.card),
    "HomomorphicAggregation": (HomomorphicAggregation, HomomorphicAggregation.card),
}
"""How a server may be shown less than every client's message; the catalogue of this room."""

__all__ = [
    "AGGREGATIONS",
    "STRATEGIES",
    "Accuracy",
    "FedAdam",
    "FedAvg",
    "FedProx",
    "FedSGD",
    "Federation",
    "HomomorphicAggregation",
    "Member",
    "Round",
    "SecureAggregation",
    "State",
    "Strategy",
    "Training",
    "advance",
    "begin",
    "deal",
    "dirichlet_split",
    "even_split",
    "federate",
    "hold_out",
    "load_checkpoint",
    "measure",
    "save_checkpoint",
]
