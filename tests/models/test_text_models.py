"""Text victims: who sees whom, padding that tells nothing, and GPT-2's own layout."""

from __future__ import annotations

import pytest
import torch

from gradiometer.core import BadConfig, Batch, next_token_cross_entropy, sequence_cross_entropy, trainable
from gradiometer.models import bert, gpt, gpt2, lora

IDS = torch.tensor([[3, 1, 4, 1, 5, 9], [2, 6, 5, 3, 0, 0]])
MASK = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0]])
SMALL = {"width": 16, "depth": 2, "heads": 2}


def test_a_decoder_sees_only_what_came_before() -> None:
    model = gpt(10, 6, **SMALL)
    changed = IDS.clone()
    changed[:, 3] = 7
    one, other = model(IDS, MASK), model(changed, MASK)
    assert one.shape == (2, 6, 10)
    assert torch.equal(one[:, :3], other[:, :3])
    assert not torch.equal(one[:, 3:], other[:, 3:])


@pytest.mark.parametrize("make", [gpt, bert])
def test_padding_changes_nothing(make) -> None:
    model = make(10, 6, 3, **SMALL)
    padded = IDS.clone()
    padded[1, 4:] = 8
    assert torch.allclose(model(IDS, MASK), model(padded, MASK))
    assert torch.allclose(model(IDS, MASK)[1:], model(IDS[1:, :4], MASK[1:, :4]), atol=1e-6)


def test_an_encoder_sees_both_ways() -> None:
    model = bert(10, 6, 3, **SMALL)
    changed = IDS.clone()
    changed[0, 5] = 7
    assert not torch.equal(model(IDS, MASK)[0], model(changed, MASK)[0])


def test_a_mask_of_pairs_lets_several_tokens_follow_side_by_side() -> None:
    model = gpt(10, 6, **SMALL)
    seen = torch.eye(4, dtype=torch.bool)
    seen[:, 0] = True
    places = torch.tensor([[0, 1, 1, 1]])
    together = model(torch.tensor([[3, 1, 4, 5]]), seen[None], places)
    for i, token in enumerate((1, 4, 5), 1):
        assert torch.allclose(together[0, i], model(torch.tensor([[3, token]]))[0, 1], atol=1e-6)


def test_gpt2_has_its_published_size() -> None:
    model = gpt2()
    assert sum(weight.numel() for weight in model.parameters()) == 124_439_808
    assert model.blocks[0].attention.joint.weight.shape == (768, 3 * 768)
    assert model.head.weight is model.tokens.weight


def test_adapters_alone_are_trained() -> None:
    base = gpt(10, 6, 2, **SMALL)
    model = lora(base, 4)
    assert set(trainable(model)) == {
        f"blocks.{i}.attention.{name}.{part}.weight"
        for i in range(2)
        for name in ("query", "value")
        for part in ("down", "up")
    }
    assert all(weight.requires_grad for weight in base.parameters())
    with pytest.raises(BadConfig, match="no linear maps"):
        lora(base, 4, maps=("nothing",))


def test_losses_count_real_tokens_only() -> None:
    model = gpt(10, 6, **SMALL)
    whole = next_token_cross_entropy(model, Batch(input_ids=IDS, attention_mask=MASK))
    parts = [
        next_token_cross_entropy(model, Batch(input_ids=IDS[i : i + 1, :n], attention_mask=MASK[i : i + 1, :n]))
        for i, n in ((0, 6), (1, 4))
    ]
    assert whole.item() == pytest.approx((5 * parts[0].item() + 3 * parts[1].item()) / 8, rel=1e-5)
    batch = Batch(input_ids=IDS, attention_mask=MASK, y=torch.tensor([0, 2]))
    assert sequence_cross_entropy(bert(10, 6, 3, **SMALL), batch).ndim == 0


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(BadConfig) as caught:
        gpt(1, 0, 1, width=10, heads=3, tied=True)
    assert len(caught.value.problems) == 5
