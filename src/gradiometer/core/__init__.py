"""The vocabulary: six nouns, the record of what is granted, and the one verb that plays a round."""

from .attack import Attack, Channel, Values
from .batch import Batch, Field, Layout, concatenate, graph_layout, image_layout, text_layout
from .calling import read_tokens
from .card import Card, DataCard
from .client import (
    Client,
    LocalStep,
    Loss,
    Sent,
    WeightsLoss,
    all_finite,
    clone_model,
    cross_entropy,
    in_mode,
    simulate,
    trainable,
)
from .data import Data, Tokenizer
from .defense import Defense, Memory
from .errors import (
    BadConfig,
    BadInput,
    GradiometerError,
    MissingKnowledge,
    NotApplicable,
    Unsupported,
    did_you_mean,
)
from .guard import Alarm, Guard
from .guess import Guess
from .losses import graph_cross_entropy, next_token_cross_entropy, node_cross_entropy, sequence_cross_entropy
from .play import play
from .recipe import Recipe
from .rng import derive, global_seed, spawn
from .storage import load_update, save_update
from .submodel import SubModel
from .summing import Aggregation, play_sum
from .threat import THREATS, Threat
from .training import Optimizer
from .update import Update

__all__ = [
    "THREATS",
    "Aggregation",
    "Alarm",
    "Attack",
    "BadConfig",
    "BadInput",
    "Batch",
    "Card",
    "Channel",
    "Client",
    "Data",
    "DataCard",
    "Defense",
    "Field",
    "GradiometerError",
    "Guard",
    "Guess",
    "Layout",
    "LocalStep",
    "Loss",
    "Memory",
    "MissingKnowledge",
    "NotApplicable",
    "Optimizer",
    "Recipe",
    "Sent",
    "SubModel",
    "Threat",
    "Tokenizer",
    "Unsupported",
    "Update",
    "Values",
    "WeightsLoss",
    "all_finite",
    "clone_model",
    "concatenate",
    "cross_entropy",
    "derive",
    "did_you_mean",
    "global_seed",
    "graph_cross_entropy",
    "graph_layout",
    "image_layout",
    "in_mode",
    "load_update",
    "next_token_cross_entropy",
    "node_cross_entropy",
    "play",
    "play_sum",
    "read_tokens",
    "save_update",
    "sequence_cross_entropy",
    "simulate",
    "spawn",
    "text_layout",
    "trainable",
]
