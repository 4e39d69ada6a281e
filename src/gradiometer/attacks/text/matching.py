"""Gradient matching on sentences: the one loop of `Matching`, with embeddings as the unknown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from gradiometer.core import Attack, NotApplicable, Update
from gradiometer.numerics.embedding_tables import Tables, embedded, find_tables, longest
from gradiometer.numerics.priors import Prior

from ..inference import RowSum
from ..matching import Adam, Descent, Matching
from ..matching.problem import Problem
from ..matching.starts import HeadStart, Start
from .bag_of_words import BagOfWords
from .sentences import Sentences


@dataclass(frozen=True, kw_only=True)
class TextMatching(Matching):
    """Optimizes embeddings until their gradient is the one that was sent, and reads the nearest tokens off them.

    The gradient of the token embedding itself is not matched: it has a row for every token, and embeddings on their way belong
    to none. How long the longest sentence is follows from the gradient of the place embedding; sentences of a batch are all taken
    to be that long, and end with the first token that closes them.

    Args:
        vocabulary: `revealed`: tokens are looked for among those whose rows of the token embedding have a gradient, if that
            was sent; `all`: in the whole vocabulary, as the papers do.
    """

    vocabulary: Literal["revealed", "all"] = "revealed"
    priors: tuple[Prior, ...] = ()
    optimizer: Descent = Adam(lr=0.1, sign="none", schedule="linear")
    start: Start | Attack = "randn"
    boxed: bool = False
    labels: Attack | None = RowSum()

    def _problem(self, update: Update, rng: torch.Generator, start: HeadStart | None = None) -> tuple[Problem, str]:
        name = type(self).__name__
        tables = find_tables(update)
        if set(update.layout) != {"input_ids", "attention_mask", "y"}:
            raise NotApplicable(
                f"{name} reconstructs sentences of which a class is predicted: next tokens are no continuous target",
                fix="DAGER reads language models",
            )
        if update.clients > 1:
            raise NotApplicable(f"{name} reads the update of one client, and this is a sum over {update.clients}")
        values = update.values if self.channel is None else self.channel.decode(update.values)
        field, table = update.layout["input_ids"], f"{tables.tokens}.weight"
        length = longest(values, tables, field.shape[0]) or field.shape[0]
        labels, source = self._labels(update, rng)
        bare = update.replace(
            labels=labels,
            model=embedded(update.need("model"), tables.tokens),
            values={key: value for key, value in update.values.items() if key != table},
        )
        if not bare.values:
            raise NotApplicable("nothing but the token embedding was sent", fix="BagOfWords reads that")
        weight = update.need("model").get_parameter(table).detach()
        like = weight.new_zeros(update.need("batch_size"), length, weight.shape[1])
        return Sentences(
            update=update,
            engine=self._engine(bare, like.dtype, rng),
            terms=tuple(prior.term(update) for prior in self.priors),
            labels=labels,
            like=like,
            boxed=False,
            table=weight,
            allowed=self._allowed(update, tables, rng).to(weight.device),
        ), source

    def _allowed(self, update: Update, tables: Tables, rng: torch.Generator) -> torch.Tensor:
        if self.vocabulary == "revealed" and f"{tables.tokens}.weight" in update.values:
            return BagOfWords().run(update, rng)["bag"]
        return torch.arange(update.layout["input_ids"].classes or 0)
