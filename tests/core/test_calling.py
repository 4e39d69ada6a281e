"""Models of text are called as they are made to be: by place, or by name as in the library `transformers`."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from torch import Tensor, nn

from gradiometer.core import Batch, next_token_cross_entropy, read_tokens, sequence_cross_entropy
from gradiometer.models import bert, gpt

IDS, MASK = torch.tensor([[5, 6, 7], [8, 9, 0]]), torch.tensor([[1, 1, 1], [1, 1, 0]])


class Named(nn.Module):
    """Calls one of ours by name, and answers with a record or a tuple; padding is looked for in the tokens alone."""

    def __init__(self, inner: nn.Module, record: bool = True, padding: int | None = None) -> None:
        super().__init__()
        self.inner, self.record, self.config = inner, record, SimpleNamespace(pad_token_id=padding)
        self.heard: dict[str, Tensor | None] = {}

    def forward(
        self,
        input_ids: Tensor | None = None,
        past_key_values: None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
    ) -> object:
        assert input_ids is not None
        assert past_key_values is None
        self.heard = {"ids": input_ids, "mask": attention_mask}
        assert attention_mask is not None
        mask = attention_mask if attention_mask.ndim == 2 else attention_mask[:, 0] == 0
        logits = self.inner(input_ids, mask, position_ids)
        return SimpleNamespace(logits=logits) if self.record else (logits, "more")


def test_both_ways_give_the_same_logits() -> None:
    plain = gpt(20, 4, 2, width=16, heads=2, depth=1)
    places = torch.tensor([[0, 1, 2], [2, 1, 0]])
    seen = torch.ones(2, 3, 3).tril().bool() & MASK.bool()[:, None]
    for record in (True, False):
        named = Named(plain, record)
        assert torch.equal(read_tokens(named, IDS, MASK), read_tokens(plain, IDS, MASK))
        assert torch.equal(read_tokens(named, IDS, MASK, places), read_tokens(plain, IDS, MASK, places))
    inner = gpt(20, 4, None, width=16, heads=2, depth=1)
    for dtype in (torch.float32, torch.float64):
        inner = inner.to(dtype)
        named = Named(inner)
        assert torch.equal(read_tokens(named, IDS, seen), read_tokens(inner, IDS, seen))
        mask = named.heard["mask"]
        assert mask is not None
        assert mask.dtype == dtype
        assert mask.isfinite().all()


def test_padding_is_spelled_as_the_model_spells_it() -> None:
    named = Named(bert(20, 4, width=16, heads=2, depth=1), padding=19)
    read_tokens(named, IDS, MASK)
    ids = named.heard["ids"]
    assert ids is not None
    assert ids.tolist() == [[5, 6, 7], [8, 9, 19]]
    assert IDS.tolist() == [[5, 6, 7], [8, 9, 0]]


def test_losses_take_either() -> None:
    batch = Batch(input_ids=IDS, attention_mask=MASK, y=torch.tensor([0, 1]))
    plain = bert(20, 4, width=16, heads=2, depth=1)
    assert torch.equal(sequence_cross_entropy(Named(plain), batch), sequence_cross_entropy(plain, batch))
    writer = gpt(20, 4, None, width=16, heads=2, depth=1)
    assert torch.equal(next_token_cross_entropy(Named(writer), batch), next_token_cross_entropy(writer, batch))
