"""The page of a federation: best defense first, every client's presence answers, and nothing unescaped."""

from __future__ import annotations

from collections.abc import Callable

from gradiometer.audit.schema import Estimate, Result
from gradiometer.audit.schema_training import Trained, TrainingResult
from gradiometer.report.federation import choices, presence, render_federation


def training(result: Result, accuracies: list[float]) -> TrainingResult:
    """A training with the result's defenses, and these accuracies."""
    names = list(dict.fromkeys(row.defense for row in result.rows))
    runs = [
        Trained(
            defense=name,
            first=0.2,
            accuracy=Estimate(value=value, lower=value - 0.05, upper=value + 0.05, n=100),
            worst=None,
            worst_member=None,
            to_target=None,
            uplink_bytes=1000,
            seconds=1.0,
            defense_seconds=0.1,
            epsilon=None,
            rounds=[],
            updates=[],
        )
        for name, value in zip(names, accuracies)
    ]
    return TrainingResult(
        title="Five <hospitals>",
        seed=0,
        model="lenet",
        parameters=9101,
        strategy="FedSGD",
        split="natural",
        members={"client": 20},
        planned=10,
        target=None,
        majority=0.2,
        runs=runs,
        environment={},
    )


def test_defenses_that_hide_pictures_come_first_and_learning_decides_among_them(
    make_result: Callable[..., Result],
) -> None:
    result = make_result(clients=2)
    count = len({row.defense for row in result.rows})
    found = choices(result, training(result, [0.9] * count))
    leaks = [choice.leaks for choice in found]
    assert leaks == sorted(leaks)
    assert all(choice.learns for choice in found)
    best = found[0].defense
    names = list(dict.fromkeys(row.defense for row in result.rows))
    poor = choices(result, training(result, [0.5 if name == best else 0.9 for name in names]))
    again = next(choice for choice in poor if choice.defense == best)
    assert not again.learns
    assert "of the accuracy is left" in again.reason
    assert all(one.learns or one.leaks >= again.leaks for one in poor[: poor.index(again)])


def test_accuracy_that_was_never_learned_compares_nothing(make_result: Callable[..., Result]) -> None:
    result = make_result()
    found = choices(result, training(result, [0.21] * len(result.rows)))
    assert all(choice.kept is None and "nothing to compare" in choice.reason for choice in found)


def test_the_page_holds_both_and_escapes_what_it_is_told(make_result: Callable[..., Result]) -> None:
    result = make_result(clients=2, public=True)
    hostile = result.model_copy(update={"title": "<script>alert(1)</script>"})
    page = render_federation(hostile, training(result, [0.9] * len(result.rows)))
    assert "<script" not in page
    for title in ("What to deploy", "Whose pictures can be seen", "What each defense costs", "How sure are we"):
        assert title in page


def test_the_stronger_of_two_attackers_is_told(make_result: Callable[..., Result]) -> None:
    result = make_result()
    row, cell = result.rows[0], result.cells[0]

    def answer(informed: bool, value: float) -> object:
        figure = Estimate(value=value, lower=value - 0.1, upper=min(1.0, value + 0.1), n=50)
        changes = {"attack": "PropertyInference", "informed": informed, "rate": None, "labels": figure, "auc": figure}
        return cell.model_copy(update={"client": row.client, "defense": row.defense, "status": "ok", **changes})

    told = result.model_copy(update={"cells": [answer(False, 0.6), answer(True, 0.8)]})
    ((client, lines),) = presence(told)
    assert client == row.client
    ((first),) = lines[0][1]
    assert first.informed
    assert first.figure == "AUC"
    assert first.estimate.value == 0.8


def test_secure_aggregation_is_judged_by_what_the_sum_shows(make_result: Callable[..., Result]) -> None:
    result = make_result(clients=2)
    names = list(dict.fromkeys(row.client for row in result.rows))
    found = choices(result, training(result, [0.9] * len(result.rows)), summed=names[1])
    total = next(choice for choice in found if choice.worst == names[1])
    assert total.defense == "secure aggregation"
    assert total.of == 1
    assert total.kept == 1.0
    assert all(choice.of == 1 and choice.worst == names[0] for choice in found if choice is not total)
