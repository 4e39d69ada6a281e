"""FILM: single sentences out of a batch, from the words that its gradient shows and a language's taste for their order."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch

from gradiometer.core import Attack, Card, Channel, Guess, MissingKnowledge, NotApplicable, Update, Values
from gradiometer.numerics.embedding_tables import Tables, find_tables, longest
from gradiometer.numerics.language import KneserNey, Language, LanguagePrior

from ..inference import RowSum
from . import listed
from .bag_of_words import BagOfWords, standing_out
from .beams import Words, changed, read, search
from .body import Body
from .choosing import different
from .likeness import Likeness
from .prefixes import Sentence
from .ranking import levels
from .verifying import verify

CLEAR = 6.0
"""Deviations by which the rows of predicted tokens stand out of the head's gradient: of 50 thousand others none does by chance."""
STILL = 10
"""After so many rounds in turn that change nothing, the moves end."""
Scores = Callable[[Sequence[Sentence]], list[float]]


@dataclass(frozen=True, kw_only=True)
class FILM(Attack):
    """Orders the words that the gradient shows: by a beam search with a language model, then by moves that the gradient judges too.

    Of one sentence the place embedding's gradient tells the length, and with it that every word occurs, and how many come again. Of
    batches single sentences are found, those that read best. The language model is the prior: what it knows of public sentences
    comes back as well, and has to be told from what the gradient shows.

    Args:
        beams: beginnings that are followed at once.
        longest: tokens of a sentence, at most.
        penalty: nats that a pair of neighbors costs which the sentence holds before.
        refined: sentences that are moved about. rounds: of moves, each; tries: moves of a round that the language model sees, and
            simulated: of which the gradient is.
        gradient: `likeness`: how like the rows of the embedding's gradient that a sentence causes are to those that were sent, which
            for a rare word are this sentence's own; `norm`: how short they are, as in the paper, whose victims have learned their
            sentences by heart; None: language alone judges.
        weight: of the gradient.
        language: the prior.
        channel: what an informed attacker knows of a defense: it decodes the entries.

    Returns (in `Guess`):
        input_ids, attention_mask: [k, length], the best first. y: [1], of a single sentence with a class. confidence: [k], 1 for a
        verified guess, else the likeness of the rows. notes: `bag`, its size; `surprise`, nats a token; `exact`.

    References:
        Gupta, Huang, Zhong, Gao, Li, Chen, "Recovering Private Text in Federated Learning of Language Models", 2022,
        arXiv:2205.08514.
    """

    card: ClassVar[Card] = Card(
        summary="Puts the words that a gradient shows in the order that a language model and the gradient find likely.",
        title="Recovering Private Text in Federated Learning of Language Models",
        authors="Gupta, Huang, Zhong, Gao, Li, Chen",
        year=2022,
        arxiv="2205.08514",
        modality="text",
        family="search",
        formula="bag = {t : dL/dE[t] != 0};  min over sentences s of -log p(s) / T + a mean over t in s of log sin^2(dL(s)/dE[t], dL/dE[t])",
        needs=("model", "loss", "public"),
        departs="trigrams of public sentences, and not the victim itself, are the prior; of the gradient the likeness of its rows "
        "judges, and not the norm; every word is used where there is one sentence; no groups of beams",
    )
    beams: int = 32
    longest: int = 40
    penalty: float = 2.0
    refined: int = 4
    rounds: int = 60
    tries: int = 200
    simulated: int = 64
    gradient: Literal["likeness", "norm"] | None = "likeness"
    weight: float = 1.0
    language: LanguagePrior = KneserNey()
    channel: Channel | None = None

    def run(self, update: Update, rng: torch.Generator) -> Guess:
        update = update.to("cpu")
        tables = find_tables(update)
        update.need("loss")
        language = self.language.learned(update)
        values = update.values if self.channel is None else self.channel.decode(update.values)
        sent = update.replace(values=values)
        words = self._words(sent, tables, levels(self.channel, update.values), rng)
        begun = {one.tokens: one for one in search(language, words, beams=self.beams, penalty=self.penalty)}
        if not begun:
            raise NotApplicable("no sentence can be made of the words that the gradient shows")
        likeness = Likeness(sent, tables, self._classes(sent, rng))
        scores = self._scores(language, words, likeness)
        refined = list[Sentence]()
        for one in different([*begun], self.refined):
            refined.append(self._refined(one, language, words, scores, likeness, rng))
            if self.gradient and likeness.same(refined[-1]):
                break
        said = different(sorted(refined, key=lambda one: scores([one])[0]), update.batch_size or 1)
        notes = {"bag": len(words.bag), "surprise": read(language, words, said, 0.0), "exact": False}
        return self._guess(update, values, said, likeness, notes)

    def observing(self, channel: Channel) -> Attack:
        return replace(self, channel=channel)

    def _words(self, update: Update, tables: Tables, told: Mapping[str, float], rng: torch.Generator) -> Words:
        """What the sentences are made of."""
        field = update.layout["input_ids"]
        if told:
            bag = listed.tokens(update.values, tables, told)
            length = listed.places(update.values, tables, told, field.shape[0])
            if bag is None:
                raise NotApplicable("noise covers which rows of the token embedding have a gradient")
        else:
            bag = BagOfWords().run(update, rng)["bag"]
            length = longest(update.values, tables, field.shape[0])
        end, said = field.end, set(bag.tolist())
        if "y" not in update.layout:  # the last token enters nothing, and is predicted
            predicted = self._predicted(update)
            length = None if length is None else min(length + 1, field.shape[0])
            end = next(iter(predicted - said)) if len(predicted - said) == 1 and update.batch_size == 1 else None
            said |= predicted
        elif end not in said:
            end = None
        alone = update.batch_size == 1 and length is not None and len(said) <= length <= self.longest
        return Words(bag=sorted(said), longest=min(length or field.shape[0], self.longest), end=end, all_used=alone)

    def _predicted(self, update: Update) -> set[int]:
        """The tokens whose rows of the head's gradient stand out: those that were predicted."""
        ids = torch.tensor([[0, 0, 1]])
        name, _, _ = Body(update.need("model")).head(ids, torch.ones_like(ids))
        if name not in update.values:
            return set()
        norms = update.values[name].double().norm(dim=1)
        return set(standing_out(norms, CLEAR).nonzero().flatten().tolist())

    def _classes(self, update: Update, rng: torch.Generator) -> list[int] | None:
        """The classes that a sentence can have; None where there are none."""
        if "y" not in update.layout:
            return None
        if update.labels is not None:
            return update.labels.unique().tolist()
        try:
            return RowSum().run(update, rng)["y"].unique().tolist()
        except (MissingKnowledge, NotApplicable):
            return list(range(update.layout["y"].classes or 0))

    def _scores(self, language: Language, words: Words, likeness: Likeness) -> Scores:
        """What is to be least: how sentences read, and what the gradient says."""

        def scores(sentences: Sequence[Sentence]) -> list[float]:
            told = read(language, words, sentences, self.penalty)
            if self.gradient == "norm":
                return [math.exp(nats) + self.weight * likeness.norm(one) for nats, one in zip(told, sentences)]
            if self.gradient == "likeness":
                return [nats + self.weight * sine for nats, sine in zip(told, likeness.sines(sentences))]
            return told

        return scores

    def _refined(
        self, best: Sentence, language: Language, words: Words, scores: Scores, likeness: Likeness, rng: torch.Generator
    ) -> Sentence:
        """A sentence after the moves that lower its score."""
        (least,), still = scores([best]), 0
        for _ in range(self.rounds):
            if still == STILL or (self.gradient and likeness.same(best)):
                break
            tried = [*dict.fromkeys(changed(best, words, rng) for _ in range(self.tries))]
            nats = torch.tensor(read(language, words, tried, self.penalty))
            kept = [tried[i] for i in nats.argsort(stable=True)[: self.simulated].tolist()]
            found = scores(kept)
            still += 1
            if min(found) < least:
                still = 0
                best, least = kept[found.index(min(found))], min(found)
        return best

    def _guess(
        self, update: Update, values: Values, said: list[Sentence], likeness: Likeness, notes: dict[str, object]
    ) -> Guess:
        batch = likeness.batch(said, [likeness.label(one) for one in said])
        confidence = 1 - torch.tensor(likeness.sines(said)).exp()
        if update.batch_size == 1:
            agreement, limit = verify(update, values, batch, self.channel)
            notes |= {"agreement": agreement, "exact": agreement <= limit}
            confidence = torch.ones(1) if agreement <= limit else confidence
        tensors = {name: value for name, value in batch.items() if name != "y" or update.batch_size == 1}
        return Guess(tensors=tensors, confidence=confidence, notes=notes)
