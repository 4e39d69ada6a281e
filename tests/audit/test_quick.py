"""Plans that nobody had to write."""

from __future__ import annotations

from gradiometer.audit.quick import scan_plan
from gradiometer.audit.setup import set_up
from gradiometer.core import Client, Recipe
from gradiometer.models import mlp


def test_chosen_attacks_meet_every_client_of_the_demo() -> None:
    setup = set_up(scan_plan(attacks=["LinearBias"]))
    assert [setup.attacks_on(name) for name in setup.victims] == [["LinearBias"]] * 2


def test_batches_are_taken_apart_and_single_examples_need_not_be(digits_data) -> None:
    def attacks(examples: int) -> list[str]:
        client = Client(
            model=mlp((1, 8, 8), 10, widths=(16,)), layout=digits_data.layout, recipe=Recipe(examples=examples)
        )
        return [one if isinstance(one, str) else one["name"] for one in scan_plan(live=(client, digits_data)).attack]

    assert "SPEAR" in attacks(2)
    assert "SPEAR" not in attacks(1)
