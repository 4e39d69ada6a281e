"""FederatedDropout: what is really smaller, who averages what, and that the smaller model leaks like the whole one."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from gradiometer.attacks.image import InvertingGradients, LinearBias, Recursive
from gradiometer.core import (
    Attack,
    BadConfig,
    Batch,
    Client,
    Data,
    Defense,
    NotApplicable,
    Recipe,
    Threat,
    Unsupported,
    Update,
    derive,
    image_layout,
    play,
    play_sum,
    trainable,
)
from gradiometer.defenses import ClientDP, FederatedDropout, Quantize, TopK, chain
from gradiometer.federation import FedAvg, Federation, FedSGD, Member, advance, begin
from gradiometer.models import lenet, resnet20

SERVER, CLIENT = FederatedDropout(rate=0.5), FederatedDropout(rate=0.5, mask="client")
LABELS = Threat(labels=True)


def sent(client: Client, data: Data, defense: Defense | None, seed: int = 0, first: int = 0) -> Update:
    return play(client, data.private.take([first]), rng=derive(seed), defense=defense, threat=LABELS)


def decibels(attack: Attack, update: Update, truth: torch.Tensor) -> float:
    x = attack.run(update, derive(1))["x"].clamp(0, 1)
    return float(-10 * (x - truth).square().mean().clamp_min(1e-12).log10())


def test_what_is_sent_is_the_smaller_models(tiny_client: Client, digits_data: Data) -> None:
    """A 64-32-10 perceptron keeps 16 of 32 neurons; the update is the gradient of what the server sent."""
    update = sent(tiny_client, digits_data, SERVER)
    assert [tuple(v.shape) for v in update.values.values()] == [(16, 64), (16,), (10, 16), (10,)]
    assert update.wire_bytes == 4 * (16 * 64 + 16 + 160 + 10)
    assert update.model is not None
    alone = replace(tiny_client, model=update.model).train(digits_data.private.take([0]), rng=derive(0))
    assert all(torch.equal(alone.values[name], value) for name, value in update.values.items())


def test_secret_choice_is_as_large_as_the_model_and_as_short_as_the_part(
    tiny_client: Client, digits_data: Data
) -> None:
    cut, update = sent(tiny_client, digits_data, SERVER), sent(tiny_client, digits_data, CLIENT)
    shapes = {name: value.shape for name, value in trainable(tiny_client.model).items()}
    assert {name: value.shape for name, value in update.values.items()} == shapes
    assert update.wire_bytes == cut.wire_bytes + -(-round((16 + 10) / 0.5) // 8)
    rows = next(iter(update.values.values())).any(1)
    assert int(rows.sum()) == 16


def test_secret_choice_is_read_off_the_zeros(tiny_client: Client, digits_data: Data) -> None:
    """Informed, the attack on the zeros is bit for bit the attack on the model that the server would have cut."""
    cut, update = sent(tiny_client, digits_data, SERVER), sent(tiny_client, digits_data, CLIENT)
    for attack in (LinearBias(), InvertingGradients(iterations=3)):
        informed = CLIENT.informed(attack)
        assert informed is not None
        assert SERVER.informed(attack) is None
        found, want = informed.run(update, derive(1)), attack.run(cut, derive(1))
        assert torch.equal(found["x"], want["x"])


def test_it_protects_nothing_by_itself(tiny_client: Client, digits_data: Data) -> None:
    """The digit is as exact in the smaller model's update as in the whole one's."""
    for i in range(5):
        truth = digits_data.private["x"][i : i + 1]
        for defense in (None, SERVER, CLIENT):
            update = sent(tiny_client, digits_data, defense, seed=i, first=i)
            assert decibels(LinearBias(), update, truth) > 60


@pytest.mark.slow
def test_matching_and_recursion_work_on_the_smaller_model(digits_data: Data) -> None:
    """On a LeNet without half of its filters, informed of nothing but the model that the server sent."""
    client = Client(model=lenet((1, 8, 8), 10, activation="sigmoid"), layout=digits_data.layout, recipe=Recipe())
    figures = {}
    for name, defense in (("whole", None), ("server", SERVER), ("client", CLIENT)):
        update, truth = sent(client, digits_data, defense), digits_data.private["x"][:1]
        attack: Attack = Recursive()
        attack = (defense.informed(attack) if defense else None) or attack
        figures[name] = decibels(attack, update, truth)
    print(figures)
    assert min(figures["server"], figures["client"]) > 40, figures


def residual_client() -> Client:
    layout = image_layout((3, 8, 8), 4)
    recipe = Recipe(mode="train", sends="delta", examples=6, batch_size=3, lr=0.1, shares_buffers=True)
    return Client(model=resnet20((3, 8, 8), 4), layout=layout, recipe=recipe)


def pictures(count: int, seed: int) -> Batch:
    draw = derive(seed)
    return Batch(x=torch.rand(count, 3, 8, 8, generator=draw), y=torch.randint(4, (count,), generator=draw))


@pytest.mark.parametrize("defense", [SERVER, CLIENT], ids=["server", "client"])
def test_normalization_is_cut_too(defense: FederatedDropout) -> None:
    client = residual_client()
    update = play(client, pictures(6, 0), rng=derive(0), defense=defense)
    assert update.buffers is not None
    assert update.model is not None
    assert {k: v.shape for k, v in update.buffers.items()} == {k: v.shape for k, v in update.model.named_buffers()}
    whole = play(client, pictures(6, 0), rng=derive(0))
    assert update.wire_bytes < 0.6 * whole.wire_bytes


def federation(client: Client, defense: Defense, members: int = 3) -> Federation:
    delta = client.recipe.sends == "delta"
    return Federation(
        client=client,
        members=tuple(Member(name=str(i), train=pictures(4 + 2 * i, i)) for i in range(members)),
        strategy=FedAvg() if delta else FedSGD(lr=0.1),
        defense=defense,
        test=pictures(8, 9),
    )


@pytest.mark.parametrize("defense", [SERVER, CLIENT], ids=["server", "client"])
@pytest.mark.parametrize("sends", ["gradient", "delta"])
def test_every_coordinate_is_averaged_over_those_that_had_it(sends: str, defense: FederatedDropout) -> None:
    """By hand, from what the server saw of every member."""
    client = residual_client()
    recipe = client.recipe if sends == "delta" else Recipe(mode="train", examples=6)
    client = replace(client, recipe=recipe)
    plan, seen = federation(client, defense), list[tuple[Update, int]]()
    start = begin(plan)
    after = advance(plan, start, measured=False, seen=lambda i, update, batch: seen.append((update, batch.size)))
    assert len(seen) == 3
    parts = [
        plan.defense.on_download(start.model, rng=derive(plan.seed, 0, i, "download")) for i in range(len(plan.members))
    ]
    old, new = dict(start.model.named_parameters()), dict(after.model.named_parameters())
    for name in trainable(start.model):
        total, weight = torch.zeros_like(old[name]), torch.zeros_like(old[name])
        for (update, size), part in zip(seen, parts):
            assert part is not None
            value = update.values[name]
            value = value if part.secret else part.spread({name: value}, start.model)[name]
            had = part.spread({name: torch.ones_like(part.gather({name: old[name]})[name])}, start.model)[name]
            total, weight = total + size * value, weight + size * had
        step = 1.0 if sends == "delta" else -0.1
        want = old[name] + step * torch.where(weight > 0, total / weight.clamp_min(1), 0)
        assert torch.allclose(new[name], want, atol=1e-6), name
    sizes = sum(value.numel() for value in trainable(start.model).values())
    assert after.rounds[0].uplink_bytes < 0.6 * 3 * 4 * sizes


def test_a_coordinate_that_nobody_had_stays() -> None:
    """One member without most filters: what it did not have is as it was, running statistics too."""
    client = residual_client()
    plan = federation(client, FederatedDropout(rate=0.9), members=1)
    start = begin(plan)
    after = advance(plan, start, measured=False)
    part = plan.defense.on_download(start.model, rng=derive(plan.seed, 0, 0, "download"))
    assert part is not None
    moved = 0
    for (name, old), new in zip(start.model.state_dict().items(), after.model.state_dict().values()):
        if not old.is_floating_point():
            continue
        had = torch.zeros(old.numel(), dtype=torch.bool)
        had[part.places[name].flatten()] = True
        assert torch.equal(old.flatten()[~had], new.flatten()[~had]), name
        moved += int((old.flatten()[had] != new.flatten()[had]).sum())
    assert moved > 0


@pytest.mark.slow
def test_accuracy_of_training_with_parts(tiny_client: Client, digits_data: Data) -> None:
    """Digits, 4 members, FedSGD: the paper's quarter of the neurons left out in every round, and the whole model learns."""
    from gradiometer.federation import federate

    client = replace(tiny_client, recipe=Recipe(examples=32))
    assert digits_data.public is not None
    assert digits_data.test is not None
    quarter = FederatedDropout(rate=0.25)
    found = federate(client, digits_data.public, digits_data.test, defense=quarter, rounds=100, lr=2.0)
    assert found.correct / found.tested > 0.8


def test_what_does_not_go_together_is_said(tiny_client: Client, digits_data: Data) -> None:
    with pytest.raises(NotApplicable, match="no layer whose units"):
        SERVER.on_download(nn.Linear(3, 2), rng=derive(0))
    with pytest.raises(Unsupported, match="different parts"):
        play_sum(tiny_client, [digits_data.private.take([0])] * 2, rng=derive(0), defense=SERVER)
    with pytest.raises(BadConfig):
        FederatedDropout(rate=1.0)
    memory: dict[str, object] = {}
    both = chain(FederatedDropout(rate=0.3), TopK(keep=0.1))
    values = {"w": torch.ones(4, 4)}
    both.on_gradients(values, rng=derive(0), memory=memory)
    with pytest.raises(BadConfig, match="another part"):
        both.on_gradients({"w": torch.ones(3, 4)}, rng=derive(0), memory=memory)


def test_in_a_chain(tiny_client: Client, digits_data: Data) -> None:
    """The parts are cut first, whatever comes after works on them, and a secret choice is uncovered again."""
    both = chain(CLIENT, Quantize(bits=8))
    update = sent(tiny_client, digits_data, both)
    assert update.wire_bytes < 0.3 * sent(tiny_client, digits_data, SERVER).wire_bytes + 10
    informed = both.informed(LinearBias())
    assert informed is not None
    assert decibels(informed, update, digits_data.private["x"][:1]) > 25
    noise = ClientDP(bound=1.0, noise_multiplier=1.0)
    assert chain(SERVER, noise).epsilon() is None
    assert noise.epsilon() is not None
    alone = ClientDP(bound=1.0, noise_multiplier=1.0, where="local")
    assert chain(SERVER, alone).epsilon() == alone.epsilon()


def test_parts_differ_from_round_to_round_and_member_to_member(tiny_client: Client) -> None:
    kept = [
        part.places["1.weight"][:, 0].tolist()
        for seed in range(4)
        if (part := SERVER.on_download(tiny_client.model, rng=derive(seed))) is not None and "1.weight" in part.places
    ]
    assert len({tuple(one) for one in kept}) == len(kept)
