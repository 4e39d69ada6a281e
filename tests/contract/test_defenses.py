"""What every exported defense goes through: one row of settings each."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, replace
from functools import partial

import pytest
import torch
from torch import nn

import gradiometer.defenses as catalogue
from gradiometer.attacks.image import InvertingGradients, LinearBias
from gradiometer.core import Attack, Batch, Client, Data, Defense, Memory, Recipe, Threat, Update, derive, play, spawn
from gradiometer.defenses import (
    DPSGD,
    QSGD,
    BatchNormToGroupNorm,
    Chain,
    ClientDP,
    Clip,
    FederatedDropout,
    GaussianNoise,
    LaplaceNoise,
    Prune,
    Quantize,
    SelectiveEncryption,
    Sign,
    Ternary,
    TopK,
    chain,
)
from gradiometer.numerics.accounting import gaussian_epsilon
from gradiometer.numerics.renyi import renyi_epsilon


@dataclass(frozen=True)
class Row:
    """A defense at a strength that changes the tiny victim's gradient, and the same at strength zero.

    Args:
        off: None where the mechanism has no strength.
        random: two rounds differ.
        same_as_naive: why no informed attack is expected, or "".
        ratio: wire bytes over those of the raw update, at most.
    """

    on: Defense
    off: Defense | None
    random: bool = False
    same_as_naive: str = ""
    ratio: float = 1.0


ROWS = {
    "clip l2": Row(Clip(bound=0.1), Clip(bound=math.inf)),
    "clip per layer": Row(Clip(bound=0.1, norm="per_layer"), Clip(bound=math.inf, norm="per_layer")),
    "clip linf": Row(Clip(bound=0.02, norm="linf"), Clip(bound=math.inf, norm="linf")),
    "gaussian": Row(GaussianNoise(std=0.02), GaussianNoise(std=0.0), random=True),
    "gaussian relative": Row(GaussianNoise(std=0.5, relative=True), GaussianNoise(std=0.0, relative=True), random=True),
    "laplace": Row(LaplaceNoise(std=0.02), LaplaceNoise(std=0.0), random=True),
    "prune": Row(Prune(keep=0.2), Prune(keep=1.0), ratio=0.4),
    "prune globally": Row(Prune(keep=0.2, scope="global"), Prune(keep=1.0, scope="global"), ratio=0.4),
    "top-k": Row(TopK(keep=0.2), TopK(keep=1.0), ratio=0.4),
    "top-k without memory": Row(
        TopK(keep=0.2, scope="tensor", error_feedback=False), TopK(keep=1.0, error_feedback=False), ratio=0.4
    ),
    "quantize global": Row(Quantize(bits=3), Quantize(bits=32), ratio=0.1),
    "quantize symmetric": Row(Quantize(bits=3, scheme="symmetric"), Quantize(bits=32, scheme="symmetric"), ratio=0.1),
    "quantize channels": Row(Quantize(bits=3, scheme="channel"), Quantize(bits=32, scheme="channel"), ratio=0.15),
    "quantize stochastically": Row(
        Quantize(bits=3, rounding="stochastic"), Quantize(bits=32, rounding="stochastic"), random=True, ratio=0.1
    ),
    "quantize channels stochastically": Row(
        Quantize(bits=3, scheme="channel", rounding="stochastic"),
        Quantize(bits=32, scheme="channel", rounding="stochastic"),
        random=True,
        ratio=0.15,
    ),
    "quantize with memory": Row(
        Quantize(bits=2, scheme="symmetric", error_feedback=True),
        Quantize(bits=32, scheme="symmetric", error_feedback=True),
        ratio=0.1,
    ),
    "qsgd": Row(QSGD(bits=3, bucket=64), QSGD(bits=32), random=True, ratio=0.2),
    "qsgd max": Row(QSGD(bits=3, norm="max"), QSGD(bits=32, norm="max"), random=True, ratio=0.11),
    "ternary": Row(Ternary(), None, random=True, ratio=0.1),
    "ternary clipped": Row(Ternary(clip=2.5), None, random=True, ratio=0.1),
    "sign": Row(Sign(), None, ratio=0.05),
    "sign with memory": Row(Sign(error_feedback=True), None, ratio=0.05),
    "group norm": Row(BatchNormToGroupNorm(groups=4), None, same_as_naive="the server has the new model"),
    "dp-sgd": Row(DPSGD(bound=0.3, noise_multiplier=0.03), DPSGD(bound=math.inf, noise_multiplier=0.0), random=True),
    "dp-sgd per layer": Row(
        DPSGD(bound=0.3, noise_multiplier=0.03, clipping="per_layer"),
        DPSGD(bound=math.inf, noise_multiplier=0.0, clipping="per_layer"),
        random=True,
    ),
    "dp-sgd adaptive": Row(
        DPSGD(bound=0.3, noise_multiplier=0.03, clipping="adaptive"),
        DPSGD(bound=math.inf, noise_multiplier=0.0),
        random=True,
    ),
    "client dp, shares": Row(
        ClientDP(bound=0.3, noise_multiplier=0.1, clients=9),
        ClientDP(bound=math.inf, noise_multiplier=0.0),
        random=True,
    ),
    "client dp, shares on a grid": Row(
        ClientDP(bound=0.3, noise_multiplier=0.1, clients=9, step=2**-12),
        ClientDP(bound=math.inf, noise_multiplier=0.0),
        random=True,
    ),
    "client dp, alone": Row(
        ClientDP(bound=0.3, noise_multiplier=0.03, where="local"),
        ClientDP(bound=math.inf, noise_multiplier=0.0, where="local"),
        random=True,
    ),
    "client dp, central": Row(
        ClientDP(bound=0.1, where="central", norm="per_layer"), ClientDP(bound=math.inf, noise_multiplier=0.0)
    ),
    "federated dropout": Row(
        FederatedDropout(rate=0.5),
        FederatedDropout(rate=0.0),
        random=True,
        same_as_naive="the server cut the model",
    ),
    "federated dropout in secret": Row(
        FederatedDropout(rate=0.5, mask="client"), FederatedDropout(rate=0.0), random=True, ratio=0.6
    ),
    "encryption": Row(SelectiveEncryption(share=0.3), SelectiveEncryption(share=0.0), ratio=20),
    "encryption by sensitivity": Row(
        SelectiveEncryption(share=0.3, by="sensitivity", scope="tensor"), SelectiveEncryption(share=0.0), ratio=20
    ),
    "encryption at random": Row(
        SelectiveEncryption(share=0.3, by="random", scope="tensor"),
        SelectiveEncryption(share=0.0),
        random=True,
        ratio=20,
    ),
    "chain": Row(
        chain(Clip(bound=0.3), GaussianNoise(std=0.01), Quantize(bits=6)), chain(Clip(bound=math.inf)), random=True
    ),
}
EPSILON = {
    "chain": 2 * 0.3 / 0.01,
    **dict.fromkeys(["dp-sgd", "dp-sgd per layer", "dp-sgd adaptive"], 1 / 0.03),
    "client dp, shares": 2 * 3 / 0.1,
    "client dp, alone": 2 / 0.03,
}
"""Sensitivity over noise of those that prove something about one message."""
EACH = pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)


def client_for(defense: Defense, tiny_client: Client) -> Client:
    """The tiny victim; for the model defense one with batch normalization."""
    if not isinstance(defense, BatchNormToGroupNorm):
        return tiny_client
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 10)
        ).eval()
    return replace(tiny_client, model=model)


def remakes(defense: Defense) -> bool:
    """It trains another model, and does nothing to values."""
    return isinstance(defense, BatchNormToGroupNorm | FederatedDropout)


def within(defense: Defense) -> bool:
    """It acts inside local steps, so that its other hooks refuse values which were made without it."""
    return type(defense) is DPSGD


def sent(row: Row, defense: Defense | None, client: Client, data: Data, seed: int = 0, first: int = 0) -> Update:
    batch = data.private.take(slice(first, first + 1))
    return play(client_for(row.on, client), batch, rng=derive(seed), defense=defense, threat=Threat(labels=True))


def test_the_table_is_the_catalogue() -> None:
    classes = {name for name in catalogue.__all__ if isinstance(getattr(catalogue, name), type)}
    assert classes == {type(row.on).__name__ for row in ROWS.values()}


@EACH
def test_card_is_complete(row: Row) -> None:
    card = row.on.card
    assert all([card.summary, card.title, card.authors, card.year, card.family, card.formula, card.strength])
    assert card is type(row.on).__dict__["card"], "a card of its own"


@EACH
def test_strength_zero_is_the_identity(row: Row, tiny_client: Client, digits_data: Data) -> None:
    if row.off is None:
        assert row.on.card.strength == "fixed"
        return
    raw, off = sent(row, None, tiny_client, digits_data), sent(row, row.off, tiny_client, digits_data)
    assert all(torch.equal(off.values[name], value) for name, value in raw.values.items())
    assert off.wire_bytes == raw.wire_bytes
    assert row.off.channel() is None


@EACH
def test_what_is_sent_is_not_the_raw_update(row: Row, tiny_client: Client, digits_data: Data) -> None:
    raw, update = sent(row, None, tiny_client, digits_data), sent(row, row.on, tiny_client, digits_data)
    if remakes(row.on):
        same = [name for name in raw.values if torch.equal(raw.values[name], update.values[name])]
    else:
        assert {k: v.shape for k, v in raw.values.items()} == {k: v.shape for k, v in update.values.items()}
        same = [name for name, value in raw.values.items() if torch.equal(value, update.values[name])]
    # A clip of entries and a global threshold may leave tensors of small (or large) entries alone; nothing else may.
    partial = getattr(row.on, "norm", "") == "linf" or getattr(row.on, "scope", "") == "global"
    assert len(same) < len(raw.values) if partial else same == []


@EACH
def test_the_observer_gets_exactly_what_left_the_client(row: Row, tiny_client: Client, digits_data: Data) -> None:
    """Replays the hooks by hand, with the generators that `play` spawns."""
    if remakes(row.on):
        return
    rng, memory = derive(0), dict[str, object]()
    spawn(rng)
    step = partial(row.on.on_step, memory=memory)
    raw = tiny_client.train(digits_data.private.take(slice(0, 1)), rng=spawn(rng), step=step)
    values = row.on.on_gradients(raw.values, rng=spawn(rng), memory=memory)
    values = row.on.on_wire(values, rng=spawn(rng), memory=memory)
    update = sent(row, row.on, tiny_client, digits_data)
    assert all(torch.equal(update.values[name], value) for name, value in values.items())
    assert update.wire_bytes == row.on.wire_bytes(values)


@EACH
def test_declared_bytes(row: Row, tiny_client: Client, digits_data: Data) -> None:
    update = sent(row, row.on, tiny_client, digits_data)
    raw = sum(value.numel() * value.element_size() for value in update.values.values())
    assert 0 < update.wire_bytes <= row.ratio * raw


@EACH
def test_same_rng_same_message(row: Row, tiny_client: Client, digits_data: Data) -> None:
    one, same, other = (sent(row, row.on, tiny_client, digits_data, seed=seed) for seed in (0, 0, 1))
    assert all(torch.equal(same.values[name], value) for name, value in one.values.items())
    assert row.random != all(torch.equal(other.values[name], value) for name, value in one.values.items())


@EACH
def test_inputs_and_global_randomness_are_left_alone(row: Row, tiny_client: Client, digits_data: Data) -> None:
    client = client_for(row.on, tiny_client)
    private = digits_data.private.take(slice(0, 2))
    values = dict(client.train(private, rng=derive(0)).values)
    kept = {name: value.clone() for name, value in values.items()}
    weights = {name: value.clone() for name, value in client.model.state_dict().items()}
    state = torch.random.get_rng_state()
    memory: Memory = {}
    for _ in range(2):
        client.train(private, rng=derive(0), step=partial(row.on.on_step, memory=memory))
        row.on.on_gradients(values, rng=derive(1), memory=memory)
        row.on.on_model(client.model)
        row.on.on_download(client.model, rng=derive(2))
    assert all(torch.equal(values[name], value) for name, value in kept.items())
    assert all(torch.equal(weights[name], value) for name, value in client.model.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), state)
    client.train(private, rng=derive(0), step=partial(row.on.on_step, memory=memory))
    assert not any(value.requires_grad for value in row.on.on_gradients(kept, rng=derive(1), memory=memory).values())


@pytest.mark.parametrize("name", ROWS)
def test_epsilon_is_the_accountants_or_none(name: str) -> None:
    defense = ROWS[name].on
    if name == "client dp, shares on a grid":
        assert defense.epsilon(1e-6) == renyi_epsilon(0.1 / (2 * 3), 1.0, 1, 1e-6)
    elif name in EPSILON:
        assert defense.epsilon(1e-6) == pytest.approx(gaussian_epsilon(EPSILON[name], 1e-6), rel=1e-9)
    else:
        assert defense.epsilon() is None


@pytest.mark.parametrize(
    "defense",
    [
        GaussianNoise(std=0.05),
        LaplaceNoise(std=0.05),
        ClientDP(bound=0.5, noise_multiplier=0.1, where="local"),
        ClientDP(bound=0.5, noise_multiplier=0.3, clients=9),
        ClientDP(bound=0.5, noise_multiplier=0.3, clients=9, step=2**-10),
    ],
    ids=["gaussian", "laplace", "local", "shares", "grid"],
)
def test_measured_noise_is_the_stated(defense: Defense) -> None:
    values = {"w": torch.zeros(100, 100)}
    measured = defense.on_gradients(values, rng=derive(0), memory={})["w"].std()
    assert measured == pytest.approx(0.05, rel=0.1)


def quality(attack: Attack, row: Row, client: Client, data: Data, count: int) -> float:
    """Mean PSNR on [0,1] pixels, over the first private digits."""
    figures = []
    for i in range(count):
        update = sent(row, row.on, client, data, seed=i, first=i)
        x = attack.run(update, derive(i, "attack"))["x"].clamp(0, 1)
        gap = (x - data.private["x"][i]).square().mean().clamp_min(1e-10)
        figures.append(float(-10 * gap.log10()))
    return statistics.mean(figures)


def assert_informed_is_no_weaker(row: Row, naive: Attack, client: Client, data: Data, count: int) -> None:
    informed = row.on.informed(naive)
    if row.same_as_naive:
        assert informed is None
        return
    assert informed is not None
    figures = [quality(attack, row, client, data, count) for attack in (informed, naive)]
    assert figures[0] >= figures[1] - 0.5, figures


@EACH
def test_informed_linear_bias_is_no_weaker(row: Row, tiny_client: Client, digits_data: Data) -> None:
    assert_informed_is_no_weaker(row, LinearBias(), tiny_client, digits_data, 8)


@pytest.mark.slow
@EACH
def test_informed_matching_is_no_weaker(row: Row, tiny_client: Client, digits_data: Data) -> None:
    assert_informed_is_no_weaker(row, InvertingGradients(iterations=200), tiny_client, digits_data, 4)


@EACH
def test_channel_prefers_the_truth(row: Row, tiny_client: Client, digits_data: Data) -> None:
    """The raw update is nearer to what was sent than those of other examples, which lie in the order of 1."""
    channel = row.on.channel()
    if channel is None:
        return
    update = sent(row, row.on, tiny_client, digits_data)
    raw = [sent(row, None, tiny_client, digits_data, first=i).values for i in range(10)]
    near, *far = (float(channel.distance(values, update.values)) for values in raw)
    assert near < min(far)
    assert 0.2 < statistics.median(far) < 50
    variance, decoded, ahead = (method(update.values) for method in (channel.variance, channel.decode, channel.forward))
    for name, value in update.values.items():
        assert variance[name].shape == decoded[name].shape == ahead[name].shape == value.shape
        assert (variance[name] >= 0).all()
        assert torch.isfinite(decoded[name]).all()


@EACH
def test_chain_of_one_is_the_defense(row: Row, tiny_client: Client, digits_data: Data) -> None:
    values = tiny_client.train(digits_data.private.take(slice(0, 1)), rng=derive(0)).values
    alone = Chain(members=(row.on,))
    if row.random or remakes(row.on):
        return
    one = alone.on_gradients(values, rng=derive(0), memory={})
    assert all(torch.equal(one[k], v) for k, v in row.on.on_gradients(values, rng=derive(0), memory={}).items())
    assert alone.channel() == row.on.channel()


def test_batch_of_zeros_passes() -> None:
    """A gradient that vanishes (a client without signal) is sent, and its channel gives finite figures."""
    values = {"w": torch.zeros(4, 3), "b": torch.zeros(4)}
    for row in ROWS.values():
        if within(row.on):
            continue
        message = row.on.on_gradients(values, rng=derive(0), memory={})
        message = row.on.on_wire(message, rng=derive(0), memory={})
        assert all(torch.isfinite(value).all() for value in message.values())
        channel = row.on.channel()
        if channel is not None:
            assert torch.isfinite(channel.distance(values, message))
            assert not any(value.isnan().any() for value in channel.variance(message).values())


def test_delta_updates_pass_too(tiny_client: Client, digits_data: Data) -> None:
    client = replace(tiny_client, recipe=Recipe(sends="delta", examples=2, epochs=2, lr=0.1))
    batch = Batch(digits_data.private.take(slice(0, 2)))
    for row in ROWS.values():
        if not isinstance(row.on, BatchNormToGroupNorm):
            play(client, batch, rng=derive(0), defense=row.on)
