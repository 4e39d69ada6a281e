"""Record: the base of everything that a result file holds."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """Base: unknown keys are refused, so that a damaged or foreign file is noticed."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, protected_namespaces=())
