"""score_text: where true sentences meet guessed ones, as `score` is for pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import eq
from statistics import median_low

import torch

from gradiometer.core import BadInput, Batch, Data, Guess, Unsupported
from gradiometer.numerics.assignment import assign

from .identification import drawn_others
from .text import rouge_l, rouge_n, token_accuracy

Tokens = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class TextScore:
    """How well one true sentence was recovered.

    Args:
        rouge1, rouge2, rouge_l: of the sentence assigned to it, on words where the data have a tokenizer, else on tokens.
        accuracy: share of places with the true token.
        exact: every token, and no other.
        rank: place of the true sentence among `candidates`, ordered by ROUGE-L with the guess; 1 is best.
        identified: rank 1, among at least two candidates.
        blind_rouge_l, blind_name: the best of the blind baselines for this very sentence.
        noise_rouge_l: of the same attack on an update of pure noise, where that was run; it is one of the baselines.
        gain: rouge_l - blind_rouge_l. Only what is above zero can be leakage.
        matched: False if the attack gave no sentence for this one; it is then scored as an empty one.
        guess: position of the assigned sentence in the guess, None where not matched.
    """

    rouge1: float
    rouge2: float
    rouge_l: float
    accuracy: float
    exact: bool
    rank: int
    candidates: int
    identified: bool
    blind_rouge_l: float
    blind_name: str
    noise_rouge_l: float | None
    gain: float
    matched: bool
    guess: int | None


def score_text(
    guess: Guess,
    truth: Batch,
    data: Data,
    *,
    rng: torch.Generator,
    candidates: int = 100,
    noise_guess: Guess | None = None,
) -> list[TextScore]:
    """Scores every true sentence.

    Guessed sentences are assigned to true ones one to one, at the largest total ROUGE-1 (places with the true token decide
    between equals). As with pictures, no more are looked at than there are true ones: the most confident, or the first.

    Args:
        guess: the attack's; without `input_ids`, nothing is matched.
        truth: the private batch.
        data: for the words, the other candidates and the blind baselines.
        candidates: N of the identification; fewer where there are fewer sentences.
        noise_guess: of the same attack on `update.noise(rng)`.

    Returns:
        n scores, in the order of `truth`.

    Raises:
        BadInput: guessed sentences of another shape than [n, length], or tokens that the vocabulary lacks.
        Unsupported: the data are no text.
    """
    field = data.layout.get("input_ids")
    if field is None or field.kind != "token":
        raise Unsupported(
            "score_text() compares sentences, and these data have none", fix='give the layout "input_ids"'
        )
    real = sentences(truth)

    def words(tokens: Tokens) -> Sequence[Hashable]:
        return tokens if data.tokenizer is None else data.tokenizer.decode(tokens).split()

    shown, source = _assigned(guess, real, field.classes, words)
    blind = blind_sentences(truth.size, data, rng=rng)
    if noise_guess is not None:
        blind["noise"], _ = _assigned(noise_guess, real, field.classes, words)
    scores = []
    for i, one in enumerate(real):
        mine, said = shown[i], words(one)
        likeness = {name: rouge_l(words(told[i]), said) for name, told in blind.items()}
        best = max(likeness, key=lambda name: (likeness[name], name))
        others = [words(other) for other in drawn_others(one, data, sentences, eq, candidates - 1, rng)]
        common, matched = rouge_l(words(mine), said), source[i] is not None
        nearer = sum(rouge_l(words(mine), other) >= common for other in others) if matched else len(others)
        scores.append(
            TextScore(
                rouge1=rouge_n(words(mine), said, 1),
                rouge2=rouge_n(words(mine), said, 2),
                rouge_l=common,
                accuracy=token_accuracy(mine, one),
                exact=mine == one,
                rank=1 + nearer,
                candidates=len(others) + 1,
                identified=nearer == 0 and len(others) > 0,
                blind_rouge_l=likeness[best],
                blind_name=best,
                noise_rouge_l=likeness.get("noise"),
                gain=common - likeness[best],
                matched=matched,
                guess=source[i],
            )
        )
    return scores


def blind_sentences(count: int, data: Data, *, rng: torch.Generator) -> dict[str, list[Tokens]]:
    """What somebody says who never saw the update, a sentence for each example.

    - `common`: the commonest public tokens, as many as a public sentence has in the median;
    - `likely`: the commonest first token of public sentences, and after each token its commonest follower, to the same length;
    - `random_public`: a public sentence, drawn by `rng`.

    Without public data, the empty sentence.
    """
    public = [] if data.public is None else [tokens for tokens in sentences(data.public) if tokens]
    if not public:
        return {"nothing": [()] * count}
    length = median_low(map(len, public))
    counts = Counter(token for tokens in public for token in tokens)
    common = tuple(token for token, _ in counts.most_common(length))
    followers: dict[int, Counter[int]] = {}
    for tokens in public:
        for token, follower in pairwise(tokens):
            followers.setdefault(token, Counter())[follower] += 1
    likely = [Counter(tokens[0] for tokens in public).most_common(1)[0][0]]
    while len(likely) < length and likely[-1] in followers:
        likely.append(followers[likely[-1]].most_common(1)[0][0])
    drawn = torch.randint(len(public), (count,), generator=rng).tolist()
    return {
        "common": [common] * count,
        "likely": [tuple(likely)] * count,
        "random_public": [public[i] for i in drawn],
    }


def sentences(batch: Batch | Guess) -> list[Tokens]:
    """The token sequences of a batch or a guess, without their padding."""
    ids = batch["input_ids"].detach().cpu()
    mask = batch["attention_mask"].detach().cpu().bool() if "attention_mask" in batch else torch.ones_like(ids).bool()
    return [tuple(row[there].tolist()) for row, there in zip(ids, mask)]


def _offered(guess: Guess, vocabulary: int | None, most: int) -> dict[int, Tokens]:
    """The guessed sentences that count, by their position in the guess."""
    if "input_ids" not in guess:
        return {}
    ids = guess["input_ids"]
    if ids.ndim != 2 or ("attention_mask" in guess and guess["attention_mask"].shape != ids.shape):
        raise BadInput(f"guessed sentences have shape {tuple(ids.shape)} where [n, length] is due")
    if vocabulary is not None and ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < vocabulary:
        raise BadInput(f"guessed tokens lie outside 0..{vocabulary - 1}")
    order = torch.arange(len(ids))
    if guess.confidence is not None:
        order = guess.confidence.detach().cpu().nan_to_num(-1.0).argsort(descending=True, stable=True)
    said = sentences(guess)
    return {int(i): said[int(i)] for i in order[:most]}


def _assigned(
    guess: Guess, real: list[Tokens], vocabulary: int | None, words: Callable[[Tokens], Sequence[Hashable]]
) -> tuple[list[Tokens], list[int | None]]:
    """For every real sentence the guessed one (empty where there is none), and its position in the guess."""
    offered = _offered(guess, vocabulary, len(real))
    shown, source, order = list[Tokens]([()] * len(real)), list[int | None]([None] * len(real)), list(offered)
    likeness = [
        [rouge_n(words(offered[j]), words(one)) + 1e-3 * token_accuracy(offered[j], one) for j in order] for one in real
    ]
    for i, j in assign(-torch.tensor(likeness)) if order else ():
        shown[i], source[i] = offered[order[j]], order[j]
    return shown, source
