"""What Flower's mods and NVFlare's filters share, against the in-process runtime; neither framework is needed."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gradiometer.attacks.inference import RowSum
from gradiometer.core import (
    BadConfig,
    BadInput,
    Client,
    Data,
    Defense,
    Recipe,
    Threat,
    Unsupported,
    derive,
    load_update,
)
from gradiometer.defenses import (
    DPSGD,
    BatchNormToGroupNorm,
    ClientDP,
    Clip,
    FederatedDropout,
    GaussianNoise,
    Quantize,
    SelectiveEncryption,
    chain,
)
from gradiometer.federation import FedAvg, Federation, advance, begin, deal
from gradiometer.federation.exchange import count_of, read_exchange, read_model
from gradiometer.federation.local import draw
from gradiometer.federation.outgoing import Protection, Recorder, SelfAttack, file_name
from gradiometer.models.mlp import mlp

LOG = logging.getLogger("test")
DELTA = Recipe(sends="delta", batch_size=16, lr=0.1, shuffle=True)
DEFENSES = {"plain": Defense(), "noisy": chain(Clip(bound=1.0), GaussianNoise(std=0.01)), "coarse": Quantize(bits=8)}


@pytest.fixture
def client(digits_data: Data) -> Client:
    return Client(model=mlp((1, 8, 8), 10, widths=(16,)), layout=digits_data.layout, recipe=DELTA)


def exchange(client: Client, change=lambda state: state, *, diff: bool = False, told: int | None = 4, member=0):
    received = read_model(client.model.state_dict(), client.model)
    sent = {name: value * 0 + 1 if diff else value + 1 for name, value in received.items()}
    return read_exchange(received, change(sent), round=2, member=member, examples=told, wire_bytes=9, diff=diff)


@pytest.mark.parametrize("diff", [False, True], ids=["weights", "differences"])
@pytest.mark.parametrize("name", DEFENSES)
def test_the_same_updates_as_in_process(client: Client, digits_data: Data, name: str, diff: bool) -> None:
    defense, seen = DEFENSES[name], {}
    members = deal(digits_data.public, 2, alpha=0.5, seed=1)
    one = Federation(
        client=client, members=members, strategy=FedAvg(), defense=defense, examples=32, test=digits_data.test, seed=1
    )
    advance(one, begin(one), seen=lambda i, update, _: seen.update({i: update}))
    received = read_model(client.model.state_dict(), client.model)
    for i, update in seen.items():
        batch = draw(members[i].train, 32, seed=1, round=0, member=i)
        values = client.train(batch, rng=derive(1, 0, i, "train")).values
        trained = values if diff else {k: received[k] + v for k, v in values.items()}
        raw = read_exchange(received, trained, round=0, member=i, examples=32, wire_bytes=0, diff=diff)
        protection = Protection(defense=defense, model=client.model, seed=1)
        left = read_exchange(
            received, protection.apply(raw, {}), round=0, member=str(i), examples=32, wire_bytes=0, diff=diff
        )
        for key, value in left.update(client).values.items():
            torch.testing.assert_close(value, update.values[key], atol=1e-6, rtol=0)


def test_differences_are_taken_as_they_are(client: Client) -> None:
    tiny = exchange(client, lambda diff: {k: v * 1e-12 for k, v in diff.items()}, diff=True)
    assert all((value == 1e-12).all() for value in tiny.delta(client.model).values())
    left = Protection(defense=Clip(bound=1.0), model=client.model).apply(tiny, {})
    assert all(torch.equal(left[k], v) for k, v in tiny.diff.items())


@pytest.mark.parametrize("diff", [False, True], ids=["weights", "differences"])
def test_frozen_parameters_cannot_carry_what_is_not_defended(client: Client, diff: bool) -> None:
    client.model[1].bias.requires_grad_(False)
    with pytest.raises(BadInput, match="came back changed"):
        exchange(client, diff=diff).delta(client.model)
    client.model[1].bias.requires_grad_(True)


def test_what_does_not_fit_is_refused(client: Client) -> None:
    state = client.model.state_dict()
    first = next(iter(state))
    for change, why in [
        (lambda s: {k: v for k, v in s.items() if k != first}, "is missing"),
        (lambda s: s | {"raw": torch.zeros(2)}, "nobody asked for"),
        (lambda s: s | {first: s[first] * float("nan")}, "not finite"),
        (lambda s: s | {first: s[first][:1]}, "has shape"),
    ]:
        with pytest.raises(BadInput, match=why):
            exchange(client, change)
        with pytest.raises(BadInput, match=why):
            read_model(change(dict(state)), client.model)


def test_what_cannot_be_done_on_the_way_out_is_said_at_once(client: Client) -> None:
    for defense in (chain(Clip(bound=1.0), BatchNormToGroupNorm()), DPSGD()):
        with pytest.raises(Unsupported, match="works on the model"):
            Protection(defense=defense, model=client.model)
    with pytest.raises(Unsupported, match="part in the sum"):
        Protection(defense=ClientDP(), model=client.model)
    with pytest.raises(Unsupported, match="encrypts"):
        Protection(defense=chain(Clip(bound=1.0), SelectiveEncryption()), model=client.model)
    with pytest.raises(Unsupported, match="works on the download"):
        Protection(defense=FederatedDropout(), model=client.model)
    with pytest.raises(BadConfig, match="return weights"):
        Recorder(client=replace(client, recipe=Recipe()), folder=Path("anywhere"))


def test_a_record_says_what_is_known_of_the_training(client: Client, tmp_path) -> None:
    keeper = Recorder(client=replace(client, recipe=replace(DELTA, examples=32)), folder=tmp_path, rounds=[2])
    for told, member in ((4, 3), (None, "site-1")):
        one = exchange(client, told=told, member=member)
        keeper.keep(one, LOG)
        update = load_update(tmp_path / file_name(one), model=client.model)
        assert (update.round, update.batch_size, update.recipe.examples) == (2, told, told or 32)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "round-0002-member-003.safetensors",
        "round-0002-site-1.safetensors",
    ]
    keeper.keep(replace(one, round=1), LOG)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_self_audit_that_fails_is_told_in_the_log(client: Client, tmp_path, caplog) -> None:
    def data(member, number):
        raise RuntimeError("no data here")

    look = SelfAttack(
        client=client,
        attacks=(RowSum(),),
        data=data,
        folder=tmp_path,
        budget=1.0,
        rounds=None,
        threat=Threat(),
        defense=None,
        seed=0,
    )
    look.look(exchange(client), LOG)
    assert "no data here" in caplog.text
    look = replace(look, data=lambda *_: Data(private=None, layout={}), rounds=[0])
    look.look(exchange(client), LOG)
    assert not (tmp_path / "leaks.jsonl").exists()


def test_numbers_of_examples_are_read_as_they_are_meant() -> None:
    assert [count_of(told) for told in (3, 3.0, 0, -1, True, "3", None, 2**40, float("nan"))] == [3, 3] + [None] * 7
