"""Audits do not score sentences yet, and say so instead of finding that none leaked."""

from __future__ import annotations

import pytest

from gradiometer.audit.plan import make_plan
from gradiometer.audit.targets import build_victim, make_victim
from gradiometer.core import Client, Unsupported, sequence_cross_entropy
from gradiometer.data import notes
from gradiometer.models import gpt

PLAN = {"client": [{"name": "text", "model": "mlp", "data": "notes"}], "attack": ["RowSum"]}


def test_text_is_refused_before_anything_is_computed() -> None:
    plan = make_plan(PLAN, source="test")
    with pytest.raises(Unsupported, match="these data are text"):
        build_victim(plan.client[0], plan)
    data = notes()
    model = gpt(data.layout["input_ids"].classes or 0, 20, 2, width=16, depth=1)
    with pytest.raises(Unsupported, match="these data are text"):
        make_victim("live", Client(model=model, layout=data.layout, loss=sequence_cross_entropy), data, plan)
