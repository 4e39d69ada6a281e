"""score: THE place where truth meets guess. Nothing before it sees both, and nothing after it needs either."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gradiometer.core import BadInput, Batch, Data, Field, Guess, Unsupported, spawn
from gradiometer.numerics.assignment import assign
from gradiometer.numerics.generators import Generator

from .baselines import ORACLE, blind_pictures, oracle_inversion
from .identification import draw_others, identification_rank
from .image import mse, pixels, psnr, ssim
from .labels import blind_labels, label_overlap
from .presence import score_presence


@dataclass(frozen=True, kw_only=True)
class ExampleScore:
    """How well one true example was recovered.

    Args:
        mse, psnr, ssim: of the picture assigned to it, on pixels in [0,1]; psnr in dB.
        rank: place of the truth among `candidates`, ordered by distance to the picture; 1 is best.
        identified: rank 1, among at least two candidates.
        blind_psnr, blind_name: the blind baseline that comes nearest to this very example (dB), of those that somebody
            can run. `nearest_public` is left out: it is chosen with the truth, and where public pictures abound (smooth
            tissue, digits) it would excuse reconstructions that nobody makes without the update.
        blind_identified: whether that baseline identifies it.
        nearest_psnr: of `nearest_public`, where there are public pictures (dB).
        noise_psnr: of the same attack on an update of pure noise, where that was run; it is one of the baselines.
        oracle_psnr: of the nearest picture that the attack's generator can show (dB), where it has one.
        gain: psnr - blind_psnr, in dB. Only what is above zero can be leakage.
        matched: False if the attack gave no (finite) picture for this example. It is then scored as a gray picture,
            and never identified.
        guess: position of the assigned picture in the guess, None where not matched.
    """

    mse: float
    psnr: float
    ssim: float
    rank: int
    candidates: int
    identified: bool
    blind_psnr: float
    blind_name: str
    blind_identified: bool
    nearest_psnr: float | None
    noise_psnr: float | None
    oracle_psnr: float | None
    gain: float
    matched: bool
    guess: int | None


@dataclass(frozen=True, kw_only=True)
class LabelScore:
    """How well the multiset of labels was recovered: overlap in [0,1], that of the best blind guess, and equality."""

    overlap: float
    blind: float
    exact: bool


def score(
    guess: Guess,
    truth: Batch,
    data: Data,
    *,
    rng: torch.Generator,
    candidates: int = 100,
    noise_guess: Guess | None = None,
    generator: Generator | None = None,
) -> list[ExampleScore]:
    """Scores every true example.

    Guessed pictures are assigned to true ones one to one, at the least total squared error. An attack may not offer more
    pictures than there are examples and let the truth choose: the most confident count, or the first where it states no
    confidence. Pictures with values that are not finite are no guesses.

    Args:
        guess: the attack's; without `x`, nothing is matched.
        truth: the private batch, [n, ...] in the model's units.
        data: where the other candidates and the blind baselines come from.
        candidates: N of the identification; fewer where there are fewer pictures.
        noise_guess: of the same attack on `update.noise(rng)`.
        generator: in whose latent space the attack searched.

    Returns:
        n scores, in the order of `truth`.

    Raises:
        BadInput: guessed pictures do not have the shape of the data.
        Unsupported: the data are no pictures.
    """
    field = data.layout.get("x")
    if field is None or field.kind != "pixels":
        raise Unsupported("score() compares pictures, and these data have none", fix='give the layout an "x" of pixels')
    others_rng, blind_rng = spawn(rng), spawn(rng)
    real = pixels(truth["x"], field)
    shown, source = _assigned(guess, real, field)
    blind = blind_pictures(truth, data, rng=blind_rng)
    if noise_guess is not None:
        blind["noise"], _ = _assigned(noise_guess, real, field)
    oracle = (
        None if generator is None else psnr(oracle_inversion(truth, data, generator, rng=spawn(rng)), real).tolist()
    )
    likeness = {name: psnr(pictures, real).tolist() for name, pictures in blind.items()}
    errors, ratios, similarities = (metric(shown, real).tolist() for metric in (mse, psnr, ssim))
    scores = []
    for i, picture in enumerate(real):
        others = draw_others(picture, data, candidates=candidates, rng=others_rng)
        best = max(likeness.keys() - {ORACLE}, key=lambda name: (likeness[name][i], name))
        matched = source[i] is not None
        rank = identification_rank(shown[i], picture, others) if matched else len(others) + 1
        scores.append(
            ExampleScore(
                mse=errors[i],
                psnr=ratios[i],
                ssim=similarities[i],
                rank=rank,
                candidates=len(others) + 1,
                identified=rank == 1 and len(others) > 0,
                blind_psnr=likeness[best][i],
                blind_name=best,
                blind_identified=identification_rank(blind[best][i], picture, others) == 1 and len(others) > 0,
                nearest_psnr=likeness[ORACLE][i] if ORACLE in likeness else None,
                noise_psnr=likeness["noise"][i] if "noise" in blind else None,
                oracle_psnr=None if oracle is None else oracle[i],
                gain=ratios[i] - likeness[best][i],
                matched=matched,
                guess=source[i],
            )
        )
    return scores


def score_labels(guess: Guess, truth: Batch, data: Data) -> LabelScore:
    """Scores guessed labels as a multiset; a guess without `y` recovers nothing.

    A guess about one class or a property (`present`, [1]; see `score_presence`) is right or wrong: overlap 1 or 0.

    Raises:
        BadInput: guessed labels that are not [n].
    """
    if "present" in guess:
        told = score_presence(guess, truth, data)
        right = told.said == told.there
        return LabelScore(overlap=float(right), blind=float(told.blind == told.there), exact=right)
    real, classes = truth["y"], data.layout["y"].classes or int(truth["y"].max()) + 1
    blind = max(label_overlap(labels, real, classes) for labels in blind_labels(len(real), data))
    if "y" not in guess:
        return LabelScore(overlap=0.0, blind=blind, exact=False)
    if guess["y"].ndim != 1:
        raise BadInput(f"guessed labels have shape {tuple(guess['y'].shape)} where [n] is due")
    overlap = label_overlap(guess["y"].detach().cpu().long(), real, classes)
    return LabelScore(overlap=overlap, blind=blind, exact=overlap == 1.0)


def _assigned(guess: Guess, real: Tensor, field: Field) -> tuple[Tensor, list[int | None]]:
    """For every real picture the guessed one (gray where there is none), and its position in the guess."""
    shown = torch.full_like(real, 0.5)
    source: list[int | None] = [None] * len(real)
    if "x" not in guess:
        return shown, source
    offered = guess["x"].detach().cpu()
    if tuple(offered.shape[1:]) != field.shape:
        raise BadInput(f"the attack's pictures have shape {tuple(offered.shape[1:])} where the data have {field.shape}")
    order = torch.arange(len(offered))
    if guess.confidence is not None:
        order = guess.confidence.detach().cpu().nan_to_num(-1.0).argsort(descending=True, stable=True)
    finite = offered.flatten(1).isfinite().all(1)
    keep = order[finite[order]][: len(real)]
    pictures = pixels(offered[keep], field)
    if len(keep):
        for i, j in assign(torch.stack([mse(pictures, one[None]) for one in real])):
            shown[i], source[i] = pictures[j], int(keep[j])
    return shown, source
