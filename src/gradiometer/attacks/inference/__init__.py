"""Inference attacks: labels of a batch, and whether it has a property or a rare class."""

from .idlg_labels import IDLGLabels
from .ilrg import ILRG
from .llg import LLG, LLGPlus
from .prior_aware import PriorAware
from .property_inference import PropertyInference
from .rare_class import RareClass
from .rlg import RLG
from .row_sum import RowSum

__all__ = ["ILRG", "LLG", "RLG", "IDLGLabels", "LLGPlus", "PriorAware", "PropertyInference", "RareClass", "RowSum"]
