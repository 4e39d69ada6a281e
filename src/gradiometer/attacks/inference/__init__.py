"""Inference attacks: labels of a batch, and whether a rare class is present."""

from .row_sum import RowSum

__all__ = ["RowSum"]
