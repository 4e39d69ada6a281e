"""DAGER and bags of words: decoders, encoders, language models, adapters, local steps, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn

from gradiometer.attacks.text import DAGER, BagOfWords
from gradiometer.core import (
    Batch,
    Client,
    Data,
    Guess,
    Loss,
    NotApplicable,
    Recipe,
    Threat,
    Update,
    derive,
    next_token_cross_entropy,
    play,
    sequence_cross_entropy,
)
from gradiometer.data import notes
from gradiometer.defenses import GaussianNoise
from gradiometer.metrics import score_text
from gradiometer.models import bert, gpt, lora, mlp

LENGTH = 20
BLIND = Threat(batch_size=False, recipe=False, buffers=False, public=False)


@pytest.fixture(scope="module")
def data() -> Data:
    return notes(LENGTH)


def victim(make: Callable[..., nn.Module], data: Data, **settings: object) -> nn.Module:
    sizes = {"width": 128, "depth": 2, "heads": 4, "classes": 2}
    return make(data.layout["input_ids"].classes, LENGTH, **{**sizes, **settings})


def observed(
    model: nn.Module,
    data: Data,
    examples: list[int],
    *,
    loss: Loss = sequence_cross_entropy,
    recipe: Recipe | None = None,
    threat: Threat = BLIND,
) -> Update:
    layout = data.layout if loss is sequence_cross_entropy else {k: v for k, v in data.layout.items() if k != "y"}
    client = Client(model=model, layout=layout, loss=loss, recipe=recipe or Recipe(examples=len(examples)))
    return play(client, data.private.take(examples), rng=derive(0), threat=threat)


def exact(guess: Guess, data: Data, examples: list[int]) -> list[bool]:
    return [one.exact for one in score_text(guess, data.private.take(examples), data, rng=derive(1))]


@pytest.mark.parametrize(("fused", "count"), [(False, 1), (True, 1), (False, 6), (True, 6)])
def test_a_decoder_gives_whole_batches_and_their_labels(data: Data, fused: bool, count: int) -> None:
    examples = list(range(count))
    guess = DAGER().run(observed(victim(gpt, data, fused=fused), data, examples), derive(0))
    assert all(exact(guess, data, examples))
    assert sorted(guess["y"].tolist()) == sorted(data.private["y"][:count].tolist())
    assert guess.notes["exact"]
    assert guess.notes["agreement"] < 1e-5
    assert guess.confidence.tolist() == [1.0] * count


def test_a_square_transposed_map_is_told_from_a_plain_one(data: Data) -> None:
    from gradiometer.attacks.text.body import Body

    for fused in (False, True):
        model = victim(gpt, data, fused=fused)
        readers = Body(model).readers(dict(model.named_parameters()))
        assert readers[0].contextual is False
        assert all(reader.turned == (fused,) * len(reader.weights) for reader in readers)
        assert [reader.features for reader in readers[:4]] == [128, 128, 128, 512]


def test_without_places_a_repeated_token_is_no_sentence(data: Data) -> None:
    model = victim(gpt, data)
    model.positions.requires_grad_(False).weight.zero_()
    update = observed(model, data, [0], threat=Threat(public=False))
    endless = {**update.layout, "input_ids": replace(update.layout["input_ids"], end=None)}
    guess = DAGER().run(update.replace(layout=endless), derive(0))
    assert guess.notes["found"] > 1  # the first token over and over lies in the span as well
    assert guess.notes["exact"]
    assert all(exact(guess, data, [0]))


def test_sentences_without_an_end_are_found_too(data: Data) -> None:
    update = observed(victim(gpt, data), data, [0, 1, 2])
    layout = {**update.layout, "input_ids": replace(update.layout["input_ids"], end=None)}
    assert all(exact(DAGER().run(update.replace(layout=layout), derive(0)), data, [0, 1, 2]))


@pytest.mark.parametrize("tied", [False, True])
def test_a_language_model_gives_the_last_token_too(data: Data, tied: bool) -> None:
    model = victim(gpt, data, classes=None, tied=tied)
    guess = DAGER().run(observed(model, data, [0, 1, 2], loss=next_token_cross_entropy), derive(0))
    assert all(exact(guess, data, [0, 1, 2]))
    assert guess.notes["exact"]


@pytest.mark.parametrize("count", [1, 2])
def test_an_encoder_gives_short_batches(data: Data, count: int) -> None:
    examples = list(range(count))
    guess = DAGER().run(observed(victim(bert, data), data, examples, threat=Threat()), derive(0))
    assert all(exact(guess, data, examples))
    assert guess.notes["exact"]


def test_a_sentence_that_is_there_twice_is_given_twice(data: Data) -> None:
    examples = [4, 4, 9]
    guess = DAGER().run(observed(victim(gpt, data), data, examples, threat=Threat()), derive(0))
    assert all(exact(guess, data, examples))
    assert guess.notes["exact"]


def test_adapters_give_the_sentences_without_their_labels(data: Data) -> None:
    model = lora(victim(gpt, data, depth=3), 64)
    guess = DAGER().run(observed(model, data, [0, 1, 2]), derive(0))
    assert all(exact(guess, data, [0, 1, 2]))
    assert "y" not in guess
    assert not guess.notes["exact"]  # nothing that was not simulated is called exact


def test_a_local_step_is_read_like_a_gradient(data: Data) -> None:
    recipe = Recipe(sends="delta", lr=0.1, examples=3)
    guess = DAGER().run(observed(victim(gpt, data), data, [0, 1, 2], recipe=recipe, threat=Threat()), derive(0))
    assert all(exact(guess, data, [0, 1, 2]))
    assert guess.notes["exact"]


def test_a_local_step_of_unknown_length_still_gives_the_sentences(data: Data) -> None:
    recipe = Recipe(sends="delta", lr=0.1, examples=3)
    guess = DAGER().run(observed(victim(gpt, data), data, [0, 1, 2], recipe=recipe), derive(0))
    assert all(exact(guess, data, [0, 1, 2]))
    assert "y" not in guess
    assert not guess.notes["exact"]


def test_as_many_tokens_as_the_model_is_wide_are_refused(data: Data) -> None:
    update = observed(victim(gpt, data, width=32), data, list(range(12)))
    with pytest.raises(NotApplicable, match="no end of its span"):
        DAGER().run(update, derive(0))


def test_noise_ends_it_with_a_refusal(data: Data) -> None:
    update = observed(victim(gpt, data), data, [0, 1, 2])
    rng = derive(3)
    noisy = {
        k: v + 0.1 * v.square().mean().sqrt() * torch.randn(v.shape, generator=rng) for k, v in update.values.items()
    }
    with pytest.raises(NotApplicable, match="no end of its span"):
        DAGER().run(update.replace(values=noisy), derive(0))


@pytest.mark.parametrize("attack", [DAGER(), BagOfWords()], ids=["DAGER", "BagOfWords"])
def test_pictures_are_refused(attack: DAGER | BagOfWords, digits_data: Data) -> None:
    client = Client(model=mlp((1, 8, 8), 10, widths=(32,)), layout=digits_data.layout)
    with pytest.raises(NotApplicable, match="tokens"):
        attack.run(play(client, digits_data.private.take([0]), rng=derive(0)), derive(0))


def test_a_model_without_its_maps_is_refused(data: Data) -> None:
    update = observed(victim(gpt, data), data, [0])
    head = {name: value for name, value in update.values.items() if name.startswith("head")}
    with pytest.raises(NotApplicable, match="linear map that reads"):
        DAGER().run(update.replace(values=head), derive(0))


@pytest.mark.parametrize("tied", [False, True])
def test_the_bag_of_words_holds_what_was_said(data: Data, tied: bool) -> None:
    update = observed(victim(gpt, data, classes=None, tied=tied), data, [0, 1, 2], loss=next_token_cross_entropy)
    guess = BagOfWords().run(update, derive(0))
    batch = data.private.take([0, 1, 2])
    said = {int(t) for row, n in zip(batch["input_ids"], batch["attention_mask"].sum(1)) for t in row[: n - 1]}
    found = set(guess["bag"].tolist())
    assert guess.notes["tied"] == tied
    if tied:
        assert len(found & said) >= 0.5 * len(said)
    else:
        assert found == said


def test_a_frozen_embedding_is_refused(data: Data) -> None:
    model = victim(gpt, data)
    model.tokens.weight.requires_grad_(False)
    with pytest.raises(NotApplicable, match="frozen"):
        BagOfWords().run(observed(model, data, [0]), derive(0))


def behind(noise: float, update: Update) -> tuple[Update, DAGER]:
    """The update behind noise, and the attack that knows of it."""
    defense = GaussianNoise(std=noise, relative=True)
    sent = defense.on_gradients(update.values, rng=derive(3), memory={})
    informed = defense.informed(DAGER())
    assert isinstance(informed, DAGER)
    return update.replace(values=sent), informed


@pytest.mark.parametrize("make", [gpt, bert])
def test_who_knows_the_noise_ranks_what_a_threshold_refuses(make: Callable[..., nn.Module], data: Data) -> None:
    update, informed = behind(0.1, observed(victim(make, data), data, [0], threat=Threat()))
    with pytest.raises(NotApplicable):
        DAGER().run(update, derive(0))
    guess = informed.run(update, derive(0))
    assert all(exact(guess, data, [0]))
    assert guess.notes["explained"]
    assert not guess.notes["exact"]  # noise explains what is left, which proves no token


def test_ranking_ends_where_every_sequence_is_closed(data: Data) -> None:
    from gradiometer.attacks.text.body import Body
    from gradiometer.attacks.text.ranking import grow_ranked, levels, seen_in_noise

    model = victim(gpt, data)
    update, informed = behind(1e-3, observed(model, data, [0]))
    assert informed.channel is not None
    values = informed.channel.decode(update.values)
    body, end = Body(model), data.layout["input_ids"].end
    _, together = seen_in_noise(body, values, levels(informed.channel, update.values))
    candidates = [torch.tensor([5, 6]), torch.tensor([end]), torch.tensor([7])]
    found = grow_ranked(body, together, candidates, torch.tensor([8, 9]), end=end, beams=4)
    assert {one.tokens for one in found} == {(5, end), (6, end)}


def test_ranking_needs_neither_the_batch_size_nor_the_embedding(data: Data) -> None:
    model = victim(gpt, data)
    model.tokens.weight.requires_grad_(False)
    update, informed = behind(1e-3, observed(model, data, [0, 1]))
    assert all(exact(informed.run(update, derive(0)), data, [0, 1]))


def test_noise_alone_is_never_called_exact(data: Data) -> None:
    update, informed = behind(30.0, observed(victim(gpt, data), data, [0], threat=Threat()))
    with pytest.raises(NotApplicable):
        informed.run(update, derive(0))


@pytest.mark.parametrize("noise", [1e-6, 1e-5, 1e-4])
def test_weak_noise_is_read_off_the_singular_values(noise: float, data: Data) -> None:
    update, _ = behind(noise, observed(victim(gpt, data), data, [0, 1, 2]))
    assert all(exact(DAGER().run(update, derive(0)), data, [0, 1, 2]))


def test_ranking_reads_language_models_whose_sentences_fill_the_context(data: Data) -> None:
    tokens = data.private["attention_mask"].sum(1)
    example = int(tokens.argmax())
    length = int(tokens[example])
    cut = {name: data.private[name][example : example + 1, :length] for name in ("input_ids", "attention_mask")}
    layout = {name: replace(field, shape=(length,)) for name, field in data.layout.items() if name in cut}
    model = gpt(data.layout["input_ids"].classes, length, None, width=128, depth=2, heads=4)
    client = Client(model=model, layout=layout, loss=next_token_cross_entropy)
    guard = GaussianNoise(std=1e-2, relative=True)
    update = play(client, Batch(cut), rng=derive(0), defense=guard)
    for granted in (update, update.replace(batch_size=None)):
        guess = (guard.informed(DAGER()) or DAGER()).run(granted, derive(0))
        assert torch.equal(guess["input_ids"], cut["input_ids"])


def test_sequences_without_room_for_a_last_token_are_a_refusal(data: Data) -> None:
    from gradiometer.attacks.text.body import Body
    from gradiometer.attacks.text.claiming import Claims
    from gradiometer.attacks.text.prefixes import Found

    update = observed(victim(gpt, data, classes=None), data, [0], loss=next_token_cross_entropy)
    claims = Claims(body=Body(update.need("model")), update=update, values=update.values, channel=None)
    endless = Found(tokens=(5,) * LENGTH, distance=0.1)
    with pytest.raises(NotApplicable, match="room for a last token"):
        claims.guess([endless], {})
