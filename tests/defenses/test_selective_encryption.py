"""SelectiveEncryption: what is hidden, what it costs, and what somebody who knows the choice still reads."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from gradiometer.attacks.image import InvertingGradients, LinearBias
from gradiometer.attacks.inference import RowSum
from gradiometer.core import (
    Attack,
    BadConfig,
    Client,
    Data,
    NotApplicable,
    Recipe,
    Threat,
    Unsupported,
    Update,
    derive,
    play,
)
from gradiometer.defenses import DPSGD, GaussianNoise, Quantize, SelectiveEncryption, chain
from gradiometer.metrics import label_overlap
from gradiometer.models import lenet
from gradiometer.numerics.channels import Hidden, hide


def sent(client: Client, data: Data, defense: SelectiveEncryption | None, examples: int = 1, seed: int = 0) -> Update:
    batch = data.private.take(slice(0, examples))
    return play(client, batch, rng=derive(seed), defense=defense, threat=Threat(labels=True))


def hidden(update: Update) -> torch.Tensor:
    flat = torch.cat([value.flatten() for value in update.values.values()])
    return (flat == 0) & flat.signbit()


def decibels(attack: Attack, update: Update, data: Data) -> float:
    x = attack.run(update, derive(1))["x"].clamp(0, 1)
    return float(-10 * (x - data.private.take([0])["x"]).square().mean().clamp_min(1e-12).log10())


@pytest.mark.parametrize("scope", ["tensor", "global"])
@pytest.mark.parametrize("by", ["magnitude", "sensitivity", "random"])
@pytest.mark.parametrize("share", [0.05, 0.5])
def test_so_much_is_hidden_and_the_rest_is_exact(
    tiny_client: Client, digits_data: Data, by: str, scope: str, share: float
) -> None:
    defense = SelectiveEncryption(share=share, by=by, scope=scope)  # type: ignore[arg-type]
    raw, update = (sent(tiny_client, digits_data, d, examples=3) for d in (None, defense))
    mask = hidden(update)
    assert float(mask.double().mean()) == pytest.approx(share, abs=2e-3)
    flat = [torch.cat([v.flatten() for v in u.values.values()]) for u in (raw, update)]
    assert torch.equal(flat[0][~mask], flat[1][~mask])
    if by == "magnitude" and scope == "global":
        assert flat[0][mask].abs().min() >= flat[0][~mask].abs().max()


def test_sensitivity_of_one_example_is_the_magnitude(tiny_client: Client, digits_data: Data) -> None:
    """Cross-entropy is linear in label probabilities: dg/dy at the true class is the example's own gradient."""
    model, batch = tiny_client.model, digits_data.private.take(slice(0, 1))
    y = torch.nn.functional.one_hot(batch["y"], 10).float().requires_grad_()
    weight = dict(model.named_parameters())
    g = torch.autograd.grad(
        torch.nn.functional.cross_entropy(model(batch["x"]), y), list(weight.values()), create_graph=True
    )
    bias = g[-1]
    along = [torch.autograd.grad(entry, y, retain_graph=True)[0][0, batch["y"][0]] for entry in bias]
    assert torch.allclose(torch.stack(along), bias, atol=1e-6)
    one, other = (
        hidden(sent(tiny_client, digits_data, SelectiveEncryption(share=0.2, by=by)))  # type: ignore[arg-type]
        for by in ("magnitude", "sensitivity")
    )
    assert torch.equal(one, other)


def test_sensitivity_of_a_batch_is_not(tiny_client: Client, digits_data: Data) -> None:
    one, other = (
        hidden(sent(tiny_client, digits_data, SelectiveEncryption(share=0.2, by=by), examples=8))  # type: ignore[arg-type]
        for by in ("magnitude", "sensitivity")
    )
    assert not torch.equal(one, other)


def test_the_choice_is_made_once(tiny_client: Client, digits_data: Data) -> None:
    memory: dict[str, object] = {}
    defense = SelectiveEncryption(share=0.2, by="sensitivity")
    batches = [digits_data.private.take(slice(4 * i, 4 * i + 4)) for i in range(3)]
    masks = [
        hidden(play(tiny_client, batch, rng=derive(i), defense=defense, memory=memory))
        for i, batch in enumerate(batches)
    ]
    assert torch.equal(masks[0], masks[1])
    assert torch.equal(masks[0], masks[2])
    assert set(memory) == {"hidden"}


def test_key_at_the_server_changes_nothing_but_the_bytes(tiny_client: Client, digits_data: Data) -> None:
    raw = sent(tiny_client, digits_data, None)
    defense = SelectiveEncryption(share=1.0, key="server")
    update = sent(tiny_client, digits_data, defense)
    assert all(torch.equal(update.values[name], value) for name, value in raw.values.items())
    assert update.wire_bytes > 8 * raw.wire_bytes
    assert defense.channel() is None
    assert decibels(LinearBias(), update, digits_data) == decibels(LinearBias(), raw, digits_data) > 60


def test_everything_encrypted_is_nothing_to_attack(tiny_client: Client, digits_data: Data) -> None:
    defense = SelectiveEncryption(share=1.0)
    update = sent(tiny_client, digits_data, defense)
    assert hidden(update).all()
    for attack in (LinearBias(), InvertingGradients(iterations=2)):
        informed = defense.informed(attack)
        assert informed is not None
        with pytest.raises(NotApplicable, match="everything in this message is encrypted"):
            informed.run(update, derive(0))


@pytest.mark.parametrize(("by", "share"), [("magnitude", 0.3), ("random", 0.5)])
def test_one_layer_in_parts_is_no_protection(tiny_client: Client, digits_data: Data, by: str, share: float) -> None:
    """Whoever takes hidden entries for zeros is misled; who leaves them out reads the digit off what is left."""
    defense = SelectiveEncryption(share=share, by=by)  # type: ignore[arg-type]
    update = sent(tiny_client, digits_data, defense)
    informed = defense.informed(LinearBias())
    assert informed is not None
    found, naive = (decibels(attack, update, digits_data) for attack in (informed, LinearBias()))
    print(by, share, found, naive)
    assert found > naive + 5


@pytest.mark.slow
def test_naive_matching_is_misled_and_the_informed_one_is_not(tiny_client: Client, digits_data: Data) -> None:
    """The 5 % of largest entries encrypted: the naive attacker gives up, and the one who leaves them out does not."""
    defense = SelectiveEncryption(share=0.05)
    update = sent(tiny_client, digits_data, defense)
    attack = InvertingGradients(iterations=1000)
    informed = defense.informed(attack)
    assert informed is not None
    found, naive = (decibels(one, update, digits_data) for one in (informed, attack))
    assert found > naive + 5, (found, naive)


def test_labels_are_counted_from_what_is_in_the_clear(digits_data: Data) -> None:
    model = lenet(digits_data.layout["x"].shape, 10, activation="tanh")
    client = Client(model=model, layout=digits_data.layout, recipe=Recipe(examples=8))
    defense = SelectiveEncryption(share=0.1)
    knowing = defense.informed(RowSum())
    assert knowing is not None
    found = []
    for turn in range(6):
        rows = torch.randperm(digits_data.private.size, generator=derive(turn, "rows"))[:8]
        batch = digits_data.private.take(rows)
        update = play(client, batch, rng=derive(turn), defense=defense, public=digits_data.public)
        found.append(label_overlap(knowing.run(update, derive(turn, "attack"))["y"], batch["y"], 10))
    assert sum(found) / 6 > 0.5


def test_bytes_by_hand() -> None:
    values = {"w": torch.randn(100, 100), "b": torch.randn(100)}
    total = 10_100
    assert SelectiveEncryption(share=0.0).wire_bytes(values) == 4 * total
    one = SelectiveEncryption(share=0.1).wire_bytes(values)
    assert one == 4 * (total - 1010) + -(-total // 8) + 52 + 65_680
    assert SelectiveEncryption(share=1.0).wire_bytes(values) == 52 + 5 * 65_680


@pytest.mark.slow
@pytest.mark.parametrize("hidden", [1, 2048, 2049, 10_000])
def test_bytes_of_ciphertexts_are_tenseals(hidden: int) -> None:
    pytest.importorskip("tenseal")
    from gradiometer.federation.homomorphic import new_key

    measured = len(new_key().encrypt(0.01 * torch.randn(hidden)))
    stated = SelectiveEncryption(share=1.0).wire_bytes({"w": torch.zeros(hidden)})
    assert stated == pytest.approx(measured, rel=1e-3)


def test_in_a_chain_encryption_comes_last(tiny_client: Client, digits_data: Data) -> None:
    """Quantized entries are encrypted, not encrypted ones quantized, wherever the member stands; and nothing shortens them."""
    quantized = sent(tiny_client, digits_data, Quantize(bits=4))  # type: ignore[arg-type]
    for members in (
        [SelectiveEncryption(share=0.2), Quantize(bits=4)],
        [Quantize(bits=4), SelectiveEncryption(share=0.2)],
    ):
        both = chain(*members)  # type: ignore[arg-type]
        update = sent(tiny_client, digits_data, both)  # type: ignore[arg-type]
        flat = [torch.cat([v.flatten() for v in u.values.values()]) for u in (quantized, update)]
        mask = hidden(update)
        assert torch.equal(flat[0][~mask], flat[1][~mask])
        assert update.wire_bytes == SelectiveEncryption(share=0.2).wire_bytes(update.values)
        channel = both.channel()
        assert channel is not None
        assert channel.channels[-1] == Hidden()  # type: ignore[attr-defined]


def test_behind_dp_sgd_the_choice_is_that_of_what_is_sent(tiny_client: Client, digits_data: Data) -> None:
    both = chain(DPSGD(bound=1.0, noise_multiplier=1.0), SelectiveEncryption(share=0.2, by="sensitivity"))
    update = sent(tiny_client, digits_data, both)  # type: ignore[arg-type]
    assert hidden(update).double().mean() == pytest.approx(0.2, abs=2e-3)
    assert both.epsilon() == DPSGD(bound=1.0, noise_multiplier=1.0).epsilon()
    noisy = chain(GaussianNoise(std=0.1), SelectiveEncryption(share=0.2))
    assert noisy.epsilon() is None


def test_sums_lose_the_mark_and_zeros_stand_for_it() -> None:
    message = {"w": hide(torch.tensor([1.0, 2.0, 0.0]), torch.tensor([False, True, False]))}
    assert Hidden().variance(message)["w"].tolist() == [0, float("inf"), 0]
    mean = {"w": torch.stack([message["w"]] * 2).mean(0)}
    assert Hidden().variance(mean)["w"].tolist() == [0, float("inf"), float("inf")]


def test_batch_normalization_mixes_sensitivities(tiny_client: Client) -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 36, 10))
    with pytest.raises(Unsupported, match="batch normalization"):
        SelectiveEncryption(by="sensitivity").on_model(model)
    assert SelectiveEncryption().on_model(model) is model


def test_deltas_and_settings(tiny_client: Client, digits_data: Data) -> None:
    client = replace(tiny_client, recipe=Recipe(sends="delta", examples=4, epochs=2, batch_size=2, lr=0.1))
    update = sent(client, digits_data, SelectiveEncryption(share=0.2, by="sensitivity"), examples=4)
    assert hidden(update).double().mean() == pytest.approx(0.2, abs=2e-3)
    for share in (-0.1, 1.1):
        with pytest.raises(BadConfig):
            SelectiveEncryption(share=share)


def test_training_adds_what_the_server_cannot_see(tiny_client: Client, digits_data: Data) -> None:
    """Encrypted entries go into the sum as they are: weights equal the undefended ones, bit for bit."""
    from gradiometer.federation import Federation, FedSGD, Member, advance, begin

    members = tuple(Member(name=str(i), train=digits_data.private.take(slice(4 * i, 4 * i + 4))) for i in range(3))
    client = replace(tiny_client, recipe=Recipe(examples=4))
    after, seen = [], []
    for defense in (SelectiveEncryption(share=0.0), SelectiveEncryption(share=0.3)):
        plan = Federation(client=client, members=members, strategy=FedSGD(lr=0.1), defense=defense)
        state = begin(plan)
        for _ in range(2):
            state = advance(plan, state, measured=False, seen=lambda i, update, _: seen.append(update))
        after.append(state)
    assert all(torch.equal(one, other) for one, other in zip(after[0].model.parameters(), after[1].model.parameters()))
    assert all(hidden(update).double().mean() == pytest.approx(0.3, abs=2e-3) for update in seen[6:])
    assert after[1].rounds[0].uplink_bytes == 3 * SelectiveEncryption(share=0.3).wire_bytes(seen[0].values)
