"""Attacks: how the observer reads an update. `image` reconstructs pictures, `text` sentences, `inference` labels and presence."""

from .differencing import difference_of_rounds, without_colluders
from .image import (
    APRIL,
    DLG,
    IDLG,
    AutoMatching,
    FedAvgMatching,
    GIAEstimate,
    GIARunning,
    Huang,
    InvertingGradients,
    LinearBias,
    Modern,
    Recursive,
    SeeThrough,
)
from .inference import ILRG, LLG, RLG, IDLGLabels, LLGPlus, PriorAware, PropertyInference, RareClass, RowSum
from .matching import Matching
from .text import DAGER, BagOfWords

__all__ = [
    "APRIL",
    "DAGER",
    "DLG",
    "IDLG",
    "ILRG",
    "LLG",
    "RLG",
    "AutoMatching",
    "BagOfWords",
    "FedAvgMatching",
    "GIAEstimate",
    "GIARunning",
    "Huang",
    "IDLGLabels",
    "InvertingGradients",
    "LLGPlus",
    "LinearBias",
    "Matching",
    "Modern",
    "PriorAware",
    "PropertyInference",
    "RareClass",
    "Recursive",
    "RowSum",
    "SeeThrough",
    "difference_of_rounds",
    "without_colluders",
]
