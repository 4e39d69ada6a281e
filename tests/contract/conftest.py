"""What contract tests of several modalities ask alike."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields

import pytest

from gradiometer.core import Attack, Update


@pytest.fixture
def holds_its_card() -> Callable[[Attack, str], None]:
    """Asserts that a published attack of this modality has a complete card and survives a plan file."""

    def check(attack: Attack, modality: str) -> None:
        from gradiometer.audit.spelling import build, spell

        assert build(spell(attack), "attack") == attack
        card = attack.card
        assert card.summary.endswith(".")
        assert card.modality == modality
        assert card.formula
        assert card.family
        assert set(card.needs) <= {field.name for field in fields(Update)}
        assert card.title
        assert card.authors
        assert card.year
        assert inspect.getdoc(type(attack))

    return check
