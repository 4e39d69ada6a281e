"""Bag of words: which tokens a batch holds, from the token embedding's gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from gradiometer.core import Attack, Card, Guess, NotApplicable, Update


@dataclass(frozen=True, kw_only=True)
class BagOfWords(Attack):
    """Reads off the embedding's gradient which tokens were used: a token that no sentence holds has a row of zeros.

    Where the head that predicts tokens is tied to the embedding, every row also holds the head's gradient. Tokens that were used then
    stand out by the norm of their rows, `log |row| > median + outlier * deviation` (from the median absolute deviation).

    Args:
        outlier: how many deviations a row of a tied embedding must stand out.

    Returns (in `Guess`):
        bag: [k], the tokens, rising. notes: `tied`, whether rows without zeros had to be told apart.

    References:
        Gupta, Huang, Zhong, Gao, Li, Chen, "Recovering Private Text in Federated Learning of Language Models", 2022,
        arXiv:2205.08514.
    """

    card: ClassVar[Card] = Card(
        summary="Reads which tokens a batch holds off the rows of the token embedding's gradient.",
        title="Recovering Private Text in Federated Learning of Language Models",
        authors="Gupta, Huang, Zhong, Gao, Li, Chen",
        year=2022,
        arxiv="2205.08514",
        modality="text",
        family="analytic",
        formula="bag = {t : dL/dE[t] != 0}",
        needs=("model",),
        departs="the first step of FILM only; tied embeddings by outliers of the rows' norms",
    )
    outlier: float = 4.0

    def run(self, update: Update, rng: torch.Generator) -> Guess:
        norms = _embedding(update).double().norm(dim=1).cpu()
        used = norms > 0
        if not used.any():
            raise NotApplicable("the token embedding's gradient is zero: nothing reached it")
        tied = bool(used.double().mean() > 0.5)
        if tied:
            used = standing_out(norms, self.outlier)
        bag = used.nonzero().flatten()
        return Guess(tensors={"bag": bag}, notes={"tied": tied, "tokens": len(bag)})


def standing_out(norms: Tensor, outlier: float) -> Tensor:
    """Which rows' norms [n] lie so many deviations above the median, on a logarithmic scale; [n], bool."""
    levels = norms.clamp_min(torch.finfo(torch.float64).tiny).log()
    deviation = 1.4826 * (levels - levels.median()).abs().median()
    return levels > levels.median() + outlier * deviation


def _embedding(update: Update) -> Tensor:
    """The gradient [vocabulary, width] of the token embedding.

    Raises:
        NotApplicable: the layout has no tokens, or the embedding was not trained.
    """
    model: nn.Module = update.need("model")
    field = update.layout.get("input_ids")
    if field is None or field.kind != "token":
        raise NotApplicable("BagOfWords reads the field `input_ids`, a sequence of tokens, which the layout lacks")
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding) and module.num_embeddings == field.classes:
            weight = f"{name}.weight" if name else "weight"
            if weight in update.values:
                return update.values[weight]
    raise NotApplicable(
        f"no gradient of an embedding of {field.classes} tokens was sent: it is frozen, or the model has none",
        fix="DAGER does without the embedding's gradient",
    )
